"""Converts a published OpenVLA-OFT checkpoint into a policy of this project.

    python -m experiments.convert_weights --output_dir=policies/spatial \
        --hf_checkpoint=moojink/openvla-7b-oft-finetuned-libero-spatial

A 7B checkpoint takes minutes and less than 6 GiB of memory; an interrupted run goes on where it
was.
"""

from typing import cast

from absl import flags

from mist_jax.commands.flags.folders import folder_of
from mist_jax.policy.dtypes import RUN_DTYPES, RunDType

_CHECKPOINT = flags.DEFINE_string(
    "hf_checkpoint",
    None,
    "Folder in the published form, or a hub id.",
    required=True,
)
_OUTPUT = flags.DEFINE_string("output_dir", None, "Folder of the converted policy.", required=True)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    "bfloat16",
    RUN_DTYPES,
    "Type of the converted parameters; float8: of the large products' weights, others bfloat16.",
)
_IMAGES = flags.DEFINE_integer(
    "num_images",
    None,
    "Cameras the policy takes; default as config.json or the robot of its actions says.",
    lower_bound=1,
    upper_bound=2,
)
_CHUNK = flags.DEFINE_integer(
    "chunk_length", None, "Actions per query; default likewise.", lower_bound=1
)
_UNNORM_KEY = flags.DEFINE_string(
    "unnorm_key",
    None,
    "Data set of dataset_statistics.json whose actions the policy gives, such as libero_spatial; "
    "needed where there are several.",
)


def main() -> None:
    """Downloads if need be, converts, and says what it made."""
    from mist_jax.policy.checkpoint import read_card
    from mist_jax.policy.preprocessing.statistics import choose_key
    from mist_jax.weights.convert import convert_checkpoint
    from mist_jax.weights.hub import download_checkpoint
    from mist_jax.weights.published_files import STATISTICS, statistics_of

    named = _CHECKPOINT.value
    folder = folder_of(named)
    source = folder if folder.is_dir() else download_checkpoint(named)
    # Refused before it is converted: no command runs a policy of several data sets.
    key = choose_key(statistics_of(source), _UNNORM_KEY.value, str(source / STATISTICS))
    output = convert_checkpoint(
        source,
        folder_of(_OUTPUT.value),
        cast(RunDType, _DTYPE.value),
        images=_IMAGES.value,
        chunk=_CHUNK.value,
        unnorm_key=key,
        name=None if folder.is_dir() else named,
    )
    card = read_card(output)
    print(f"{output}: {card.identity}, {card.model.name}, {card.dtype}")
