"""Some tasks of a dataset as one of their own, so that what is learnt has never met the others."""

import dataclasses
from collections.abc import Callable, Collection
from pathlib import Path

from mist_jax.episodes.dataset_info import load_info
from mist_jax.episodes.export.choice import whole_export
from mist_jax.episodes.index import read_index
from mist_jax.episodes.reader import read_episodes
from mist_jax.episodes.summary.files import summarise_dataset
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError


def select_episodes(
    source: Path,
    target: Path,
    task_ids: Collection[int],
    *,
    command: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Copies every episode of these tasks (of each suite there is) into `target`; says how many.

    Episodes stay as they are, pictures and activations included; `command` is told beside those
    that made them. `progress` hears how many are done, of how many. Stopped, it leaves nothing.

    Raises:
        UserError: there is no dataset, none of its episodes is of these tasks, `target` exists, or
            the disk is full.
    """
    info = load_info(source)
    there = read_index(source)
    wanted = sum(entry.key.task_id in task_ids for entry in there)
    if not wanted:
        tasks = ", ".join(map(str, sorted({entry.key.task_id for entry in there}))) or "none"
        raise UserError(f"{source} has no episode of these tasks; its tasks are {tasks}")
    info = dataclasses.replace(info, commands=(*info.commands, *filter(None, [command])))
    with whole_export(target) as folder:
        with EpisodeWriter(folder, info) as writer:
            chosen = (e for e in read_episodes(source, images=True) if e.key.task_id in task_ids)
            for done, episode in enumerate(chosen, 1):
                writer.append(episode)
                progress(done, wanted)
        summarise_dataset(folder)
    return wanted
