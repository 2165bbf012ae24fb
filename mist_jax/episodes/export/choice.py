"""What every export asks of a dataset, and how its result appears: whole or not at all."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mist_jax.disk import PARTIAL, full_disk_is_clear
from mist_jax.episodes.dataset_info import DatasetInfo, load_info
from mist_jax.episodes.index import read_index
from mist_jax.episodes.reader import read_episodes
from mist_jax.errors import UserError
from mist_jax.record.episode import Episode


def check_exportable(directory: Path, outcomes: Sequence[str], tools: str) -> DatasetInfo:
    """What the episodes have in common; `tools` are those that the export is for.

    Raises:
        UserError: there is no dataset, it keeps no picture per step, or none of its episodes has
            one of `outcomes`.
    """
    info = load_info(directory)
    if info.images != "step":
        raise UserError(
            f"{directory} keeps images={info.images}; {tools} need a picture "
            "per step: collect with --images=step"
        )
    if not count_of(directory, outcomes):
        raise UserError(f"{directory} has no episode with outcome {' or '.join(outcomes)}")
    return info


def count_of(directory: Path, outcomes: Sequence[str]) -> int:
    """How many episodes have one of `outcomes`."""
    return sum(entry.outcome in outcomes for entry in read_index(directory))


def episodes_of(directory: Path, outcomes: Sequence[str]) -> Iterator[Episode]:
    """Those episodes, with their pictures."""
    for episode in read_episodes(directory, images=True):
        if episode.outcome in outcomes:
            yield episode


@contextmanager
def whole_export(final: Path) -> Iterator[Path]:
    """The block makes a folder beside, which then appears as `final`; failing, it leaves none.

    What is given is a path at which nothing is yet.

    Raises:
        UserError: `final` exists already, or the disk is full.
    """
    if final.exists():
        raise UserError(f"{final} exists already; remove it or name another folder")
    scratch = final.with_name(final.name + PARTIAL)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.parent.mkdir(parents=True, exist_ok=True)
    try:
        with full_disk_is_clear(final):
            yield scratch
            scratch.replace(final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
