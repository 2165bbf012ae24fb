"""What a checkpoint's architecture says about its preprocessing."""

from dataclasses import dataclass

from mist_jax.policy.preprocessing.statistics import BoundsKind
from mist_jax.policy.preprocessing.tokenizer import TERMINATOR_ID
from mist_jax.record.observation import CAMERAS


@dataclass(frozen=True)
class PreprocessingSpec:
    """Everything that goes before and after a network, but for its statistics and tokenizer.

    `crop_side`, `jpeg_round_trip` and `center_crop` are those of `ImagePreprocessing`, whose
    pictures are `image_size` pixels high and wide. `cameras` are in the network's order.
    `action_bounds` is what -1 and 1 mean in the statistics. `terminator_id` ends every prompt.
    """

    image_size: int
    crop_side: int
    jpeg_round_trip: bool = True
    center_crop: bool = True
    cameras: tuple[str, ...] = CAMERAS
    proprio_dim: int = 8  # 0: the model takes none
    action_bounds: BoundsKind = "q01_q99"
    terminator_id: int = TERMINATOR_ID
