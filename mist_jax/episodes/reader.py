"""Reads the episodes of datasets, without TensorFlow."""

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

from mist_jax.episodes.codec import decode_episode
from mist_jax.episodes.dataset_info import load_info
from mist_jax.episodes.index import EpisodeEntry, read_index, read_indices
from mist_jax.episodes.shards import load_shards, read_shard, shard_path
from mist_jax.errors import UserError
from mist_jax.record.episode import Episode, EpisodeKey


def read_episodes(*directories: Path, images: bool = False) -> Iterator[Episode]:
    """The episodes of one or several datasets in the order they were stored, one at a time.

    Each is what was written: floats as float32 (activations in the dataset's `activation_dtype`),
    contacts ordered by step, and where there are no queries the optional fields None and the
    activations empty [0, L, D]. Camera pictures only if `images`.

    Raises:
        UserError: there is no dataset, two of them hold the same episode, or a file is damaged; the
            message names it.
    """
    for directory, entries in read_indices(directories).items():
        yield from _of_one(directory, iter(entries), images)


def _of_one(
    directory: Path,
    entries: Iterator[EpisodeEntry],
    images: bool,
    chosen: Collection[EpisodeKey] | None = None,
) -> Iterator[Episode]:
    info = load_info(directory)
    for index, length in enumerate(load_shards(directory)):
        path = shard_path(directory, index)
        for position, record in enumerate(read_shard(path, length)):
            entry = next(entries)
            if chosen is not None and entry.key not in chosen:
                continue
            where = f"{path}, record {position} ({entry.key})"
            if hashlib.sha256(record).hexdigest() != entry.sha256:
                raise UserError(f"{where} is damaged; restore the file from a copy")
            try:
                episode = decode_episode(record, info, images=images)
            except ValueError as error:
                raise UserError(f"{where} cannot be read: {error}") from error
            yield episode


def find_episodes(
    directory: Path, chosen: Collection[EpisodeKey], *, images: bool = False
) -> dict[EpisodeKey, Episode]:
    """Those of a dataset's episodes that are `chosen` and there; see `read_episodes`."""
    entries = iter(read_index(directory))
    return {one.key: one for one in _of_one(directory, entries, images, chosen)}


def load_episodes(*directories: Path, images: bool = False) -> list[Episode]:
    """All episodes of datasets at once; see `read_episodes`."""
    return list(read_episodes(*directories, images=images))
