"""Flag of every command whose run has curves."""

from typing import Any

from absl import flags

from mist_jax.errors import UserError
from mist_jax.tracking import TRACKERS, check_tracker

TRACK: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "track",
    "none",
    TRACKERS,
    "Where curves go beside the files: tensorboard (event files in the output folder) or wandb "
    "(its own login and environment hold).",
)


@flags.validator("track")
def _is_installed(name: str) -> bool:
    try:
        check_tracker(name)  # type: ignore[arg-type]
    except UserError as error:
        raise flags.ValidationError(str(error)) from error
    return True
