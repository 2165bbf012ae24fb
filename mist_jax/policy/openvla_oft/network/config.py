"""One configuration class for every size of OpenVLA-OFT, from mist-nano to the published 7B."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self, get_args

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.errors import UserError
from mist_jax.fields import check_fields
from mist_jax.policy.preprocessing.spec import PreprocessingSpec
from mist_jax.record.observation import CAMERAS

ActionHead = Literal["l1", "diffusion", "tokens"]
ActionBounds = Literal["q01_q99", "min_max"]


@dataclass(frozen=True)
class VisionTowerConfig:
    """A vision transformer as timm builds it, up to the block whose output is read.

    `blocks` counts the blocks that are run: the published towers have one more, whose output the
    reference discards. `prefix_tokens` are class and register tokens, prepended after the position
    embedding and dropped at the end. `mean` and `std` are the effective normalisation constants.
    """

    width: int
    blocks: int
    heads: int
    mlp_width: int
    patch_size: int
    prefix_tokens: int
    layer_scale: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    norm_eps: float = 1e-6


@dataclass(frozen=True)
class OpenVLAOFTConfig:
    """The whole policy: two vision towers, projector, bidirectional Llama, proprio, action head."""

    dino: VisionTowerConfig
    siglip: VisionTowerConfig
    image_size: int
    images: int
    projector_width: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    vocab_size: int
    proprio_dim: int  # 0: the checkpoint has no proprio projector
    action_head: ActionHead = "l1"
    head_blocks: int = 2
    film: bool = False
    chunk: int = 8
    action_dim: int = len(ACTION_DIMENSIONS)
    action_bounds: ActionBounds = "q01_q99"  # what -1 and 1 mean in the data's statistics
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1e4
    layer_norm_eps: float = 1e-5
    prompt_capacity: int = 38  # tokens from BOS to the empty token; longer prompts grow it by 16
    stop_token_id: int = 2
    empty_token_id: int = 29871
    action_vocab_end: int = 32000  # discrete actions are the ids just below
    action_bins: int = 256
    diffusion_steps: int = 50
    crop_side: int = 224  # where images are resized and cropped before the towers' own size
    jpeg_round_trip: bool = True
    center_crop: bool = True

    @property
    def patches(self) -> int:
        """Patches of one image; both towers share the grid."""
        return (self.image_size // self.dino.patch_size) ** 2

    @property
    def action_tokens(self) -> int:
        """Tokens that carry one action chunk."""
        return self.chunk * self.action_dim

    @property
    def prefix_length(self) -> int:
        """Tokens before the prompt: BOS, patches, proprio, diffusion time step."""
        extra = int(self.proprio_dim > 0) + int(self.action_head == "diffusion")
        return 1 + self.images * self.patches + extra

    @property
    def preprocessing(self) -> PreprocessingSpec:
        """What goes before and after the network."""
        return PreprocessingSpec(
            image_size=self.image_size,
            crop_side=self.crop_side,
            jpeg_round_trip=self.jpeg_round_trip,
            center_crop=self.center_crop,
            cameras=CAMERAS[: self.images],
            proprio_dim=self.proprio_dim,
            action_bounds=self.action_bounds,
            terminator_id=self.empty_token_id,
        )

    def sequence_length(self, prompt_capacity: int) -> int:
        """Tokens in one padded sequence whose prompt (BOS included) has this capacity."""
        return self.prefix_length + prompt_capacity - 1 + self.action_tokens + 1

    def capacity_for(self, prompt_length: int) -> int:
        """The padded prompt length for the longest prompt of a batch."""
        excess = max(0, prompt_length - self.prompt_capacity)
        return self.prompt_capacity + 16 * -(-excess // 16)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; an unknown or missing field is an error."""
        towers = {name: _tower(name, values.get(name)) for name in ("dino", "siglip")}
        fields = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(fields))
        required = {n for n, f in fields.items() if f.default is dataclasses.MISSING}
        missing = sorted(required - set(values))
        if unknown or missing:
            raise UserError(f"model config: unknown fields {unknown}, missing fields {missing}")
        if values.get("action_head", "l1") not in get_args(ActionHead):
            raise UserError(
                f"model config: action_head {values['action_head']!r} is none of "
                f"{', '.join(get_args(ActionHead))}"
            )
        config = cls(**{**values, **towers})
        _check("model config", config)
        return config


_MAY_BE_ZERO = ("proprio_dim", "prefix_tokens", "head_blocks", "stop_token_id", "empty_token_id")


def _check(where: str, config: Any) -> None:
    """Raises UserError where a field is of another type than declared, or a size of nothing."""
    try:
        check_fields(config)
    except TypeError as error:
        raise UserError(f"{where}: {error} is not of the declared type") from error
    for name, value in vars(config).items():
        if type(value) is int and value < (name not in _MAY_BE_ZERO):
            raise UserError(f"{where}: {name} = {value} is too small")


def _tower(name: str, values: Any) -> VisionTowerConfig:
    try:
        pixel = {key: tuple(values[key]) for key in ("mean", "std")}
        tower = VisionTowerConfig(**{**values, **pixel})
    except (TypeError, KeyError) as error:
        raise UserError(f"model config: {name} is not a vision tower ({error})") from error
    _check(f"model config: {name}", tower)
    return tower


# DINO's constants are bfloat16-rounded in the published preprocessor and win over ImageNet's.
DINO_MEAN = (0.484375, 0.455078125, 0.40625)
DINO_STD = (0.228515625, 0.2236328125, 0.224609375)
HALF = (0.5, 0.5, 0.5)

_dino = partial(
    VisionTowerConfig,
    patch_size=14,
    prefix_tokens=5,
    layer_scale=True,
    mean=DINO_MEAN,
    std=DINO_STD,
)
_siglip = partial(
    VisionTowerConfig, patch_size=14, prefix_tokens=0, layer_scale=False, mean=HALF, std=HALF
)

OPENVLA_OFT_7B = OpenVLAOFTConfig(
    dino=_dino(
        width=1024,
        blocks=23,
        heads=16,
        mlp_width=4096,
    ),
    siglip=_siglip(
        width=1152,
        blocks=26,
        heads=16,
        mlp_width=4304,
    ),
    image_size=224,
    images=2,
    projector_width=8704,
    width=4096,
    layers=32,
    heads=32,
    mlp_width=11008,
    vocab_size=32064,
    proprio_dim=8,
)

MIST_NANO = OpenVLAOFTConfig(
    dino=_dino(
        width=128,
        blocks=4,
        heads=4,
        mlp_width=512,
    ),
    siglip=_siglip(
        width=128,
        blocks=4,
        heads=4,
        mlp_width=512,
    ),
    image_size=168,
    crop_side=168,
    images=2,
    projector_width=512,
    width=256,
    layers=6,
    heads=4,
    mlp_width=640,
    vocab_size=528,
    proprio_dim=8,
    prompt_capacity=36,
    empty_token_id=3,
    action_vocab_end=528,
)

PRESETS: Mapping[str, OpenVLAOFTConfig] = {
    "mist-nano": MIST_NANO,
    "openvla-oft-7b": OPENVLA_OFT_7B,
}
