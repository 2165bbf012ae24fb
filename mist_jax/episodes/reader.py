"""Reads the episodes of datasets, without TensorFlow."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from mist_jax.episodes.codec import decode_episode
from mist_jax.episodes.dataset_info import load_info
from mist_jax.episodes.index import EpisodeEntry, read_indices
from mist_jax.episodes.shards import load_shards, read_shard, shard_path
from mist_jax.errors import UserError
from mist_jax.record.episode import Episode


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
        info = load_info(directory)
        for record, where in read_records(directory, entries):
            try:
                episode = decode_episode(record, info, images=images)
            except ValueError as error:
                raise UserError(f"{where} cannot be read: {error}") from error
            yield episode


def load_episodes(*directories: Path, images: bool = False) -> list[Episode]:
    """All episodes of datasets at once; see `read_episodes`."""
    return list(read_episodes(*directories, images=images))


def read_records(directory: Path, entries: Sequence[EpisodeEntry]) -> Iterator[tuple[bytes, str]]:
    """Of every entry of a dataset's index its record, and where it lies; checksums are compared.

    Another process may write to the dataset meanwhile. It adds records and puts shards together,
    which leaves their order: reading then goes on in the shards that count by now.

    Raises:
        UserError: a file is missing or damaged.
    """
    lengths, done = load_shards(directory), 0
    while done < len(entries):
        try:
            for record, where in _from(directory, lengths, entries, done):
                yield record, where
                done += 1
        except UserError:
            now = load_shards(directory)
            if now == lengths:
                raise
            lengths = now


def _from(
    directory: Path, lengths: Sequence[int], entries: Sequence[EpisodeEntry], start: int
) -> Iterator[tuple[bytes, str]]:
    first = 0  # of the shard
    for index, length in enumerate(lengths):
        path = shard_path(directory, index)
        wanted = range(max(start - first, 0), min(len(entries) - first, length))
        for position, record in zip(
            wanted, read_shard(path, wanted) if wanted else (), strict=True
        ):
            entry = entries[first + position]
            where = f"{path}, record {position} ({entry.key})"
            if hashlib.sha256(record).hexdigest() != entry.sha256:
                raise UserError(f"{where} is damaged; restore the file from a copy")
            yield record, where
        first += length
    if first < len(entries):
        raise UserError(
            f"{directory} has fewer episodes than a moment ago: another process writes to it; run "
            "the same command again once that is done"
        )
