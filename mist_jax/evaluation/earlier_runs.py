"""Episodes of earlier runs that an arm draws from, checked against this run."""

from pathlib import Path
from typing import Any

from mist_jax.episodes.dataset_info import DatasetInfo, load_info
from mist_jax.episodes.index import dataset_hash
from mist_jax.errors import UserError
from mist_jax.evaluation.arms.beforehand.oracle import Oracle, read_oracle
from mist_jax.evaluation.arms.beforehand.replays import Replays, read_replays
from mist_jax.evaluation.run_setup import RunSetup

_SAME_EPISODES = (
    *("model", "dtype", "batch_size"),
    *("assets", "min_force", "camera_res", "render", "perturbation"),
)
_SAME_DOSE = (
    "risk_head",
    "threshold",
    "causal_bank",
    "intent",
    "push",
    "coefficient",
    "rotation_coefficient",
    "brake",
    "halt",
    "release",
    "hold",
)


def load_replays(folder: Path, setup: RunSetup) -> tuple[Replays, str]:
    """What `mist` wanted in the evaluation in `folder`, and the hash of its episodes.

    Raises:
        UserError: there is no such evaluation, or its `mist` was another than this run's.
    """
    info = _info(folder, "--replay_from")
    if info.kind != "evaluation":
        raise UserError(f"--replay_from={folder} is a {info.kind}; name an evaluation with mist")
    then = RunSetup.of(info)
    _check_same(folder, "--replay_from", then, setup, ("model", "dtype", *_SAME_DOSE))
    return read_replays(folder), dataset_hash(folder)


def load_oracle(folder: Path, setup: RunSetup) -> tuple[Oracle, str]:
    """Where the unsteered episodes in `folder` hit something, and the hash of its episodes.

    Raises:
        UserError: there are none, or they were run in another way than this run's would be.
    """
    info = _info(folder, "--oracle_from")
    _check_same(folder, "--oracle_from", info, setup, _SAME_EPISODES)
    return read_oracle(folder), dataset_hash(folder)


def _info(folder: Path, flag: str) -> DatasetInfo:
    try:
        return load_info(folder)
    except UserError as error:
        raise UserError(f"{flag}: {error}") from None


def _check_same(folder: Path, flag: str, then: Any, now: RunSetup, names: tuple[str, ...]) -> None:
    for name in names:
        before, here = getattr(then, name), getattr(now, name)
        if before != here:
            raise UserError(
                f"{flag}={folder} was run with {name} = {before!r}, this run has {here!r}"
            )
