"""The index of a dataset, `episodes.jsonl`: one line per stored episode, in the records' order.

It answers what is already there without reading the records, and its checksums prove them.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mist_jax.episodes.dataset_info import INFO_FILE, load_info
from mist_jax.episodes.shards import TFDS_INFO_FILE, load_shards, shards_there
from mist_jax.errors import UserError
from mist_jax.fields import check_fields
from mist_jax.record.episode import EpisodeKey, Outcome

INDEX_FILE = "episodes.jsonl"


@dataclass(frozen=True)
class EpisodeEntry:
    """What the index knows of one stored episode."""

    key: EpisodeKey
    outcome: Outcome
    surplus: bool
    harmful: bool  # it had a harmful contact
    stored: str  # when it was appended: UTC, ISO 8601 to the second
    sha256: str  # of its record

    def as_line(self) -> bytes:
        """The entry as one line of the index."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False).encode() + b"\n"

    @staticmethod
    def from_json(values: dict[str, Any]) -> "EpisodeEntry":
        """The inverse of `as_line`, parsed; KeyError or TypeError where it is none."""
        entry = EpisodeEntry(**{**values, "key": EpisodeKey(**values["key"])})
        check_fields(entry)
        return entry


def read_index(directory: Path) -> tuple[EpisodeEntry, ...]:
    """The entries of all stored episodes; lines beyond them belong to an interrupted write.

    Raises:
        UserError: there is no dataset, or its index is damaged.
    """
    load_info(directory)
    path = directory / INDEX_FILE
    count = sum(load_shards(directory))
    entries: list[EpisodeEntry] = []
    keys: set[EpisodeKey] = set()
    try:
        for line in _lines(directory)[:count]:
            entry = EpisodeEntry.from_json(json.loads(line))
            if entry.key in keys:
                raise ValueError(f"{entry.key} a second time")
            keys.add(entry.key)
            entries.append(entry)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged at line {len(entries) + 1} ({error!r}); restore it from a copy"
        ) from None
    if len(entries) < count:
        raise UserError(
            f"{path} has {len(entries)} of {count} episodes; restore the file from a copy"
        )
    return tuple(entries)


def read_indices(directories: Sequence[Path]) -> dict[Path, tuple[EpisodeEntry, ...]]:
    """The entries of several datasets that are used as one.

    Raises:
        UserError: there is no such dataset, its index is damaged, or two hold the same episode.
    """
    indices: dict[Path, tuple[EpisodeEntry, ...]] = {}
    place: dict[str, Path] = {}
    for directory in map(Path, directories):
        entries = read_index(directory)
        for entry in entries:
            if entry.sha256 in place:
                raise UserError(
                    f"{entry.key} is in {place[entry.sha256]} and in {directory}; name only one"
                )
        place.update(dict.fromkeys((entry.sha256 for entry in entries), directory))
        indices[directory] = entries
    return indices


def check_nothing_else(directory: Path, lengths: Sequence[int]) -> None:
    """Makes sure that a folder holds no episodes beyond those of its shards of `lengths`.

    An interrupted write leaves one line of the index and one shard at most, or those shards whose
    episodes were merged into others: these may go. More than that are episodes.

    Raises:
        UserError: there are more.
    """
    count = sum(lengths)
    lines = len(_lines(directory))
    begun = (directory / INFO_FILE).exists()
    lost = lines - count > (1 if begun else 0)
    if lost or (not count and len(shards_there(directory)) > (1 if begun else 0)):
        raise UserError(
            f"{directory} has episodes that its {INFO_FILE} and {TFDS_INFO_FILE} do not count "
            f"({lines} lines of {INDEX_FILE}, {count} counted); restore those files from a copy"
        )


def index_bytes(directory: Path, count: int) -> int:
    """The length in bytes of the index's first `count` lines."""
    return sum(len(line) for line in _lines(directory)[:count])


def _lines(directory: Path) -> list[bytes]:
    path = directory / INDEX_FILE
    try:
        return path.read_bytes().splitlines(keepends=True) if path.exists() else []
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); restore it from a copy"
        ) from None


def append_entry(directory: Path, entry: EpisodeEntry, offset: int) -> int:
    """Writes the entry behind the first `offset` bytes and drops what an interrupted write left.

    Returns:
        The new length in bytes.
    """
    line = entry.as_line()
    descriptor = os.open(directory / INDEX_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    with os.fdopen(descriptor, "r+b") as file:
        file.truncate(offset)
        file.seek(offset)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    return offset + len(line)


def dataset_hash(*directories: Path) -> str:
    """SHA-256 of the episodes' content and of what they have in common, of one or more datasets.

    The same for the same episodes in another order, in other shards, and divided over other folders
    of the same description. Risk heads and steering banks store it to say what they were learnt
    from.

    Raises:
        UserError: there is no dataset, its index is damaged, or two hold the same episode.
    """
    indices = read_indices(directories)
    digest = hashlib.sha256()
    for description in sorted({_description(directory) for directory in indices}):
        digest.update(description.encode())
    for checksum in sorted(entry.sha256 for entries in indices.values() for entry in entries):
        digest.update(checksum.encode())
    return digest.hexdigest()


def _description(directory: Path) -> str:
    info = load_info(directory).as_json()
    for name in ("commands", "code_versions"):
        del info[name]
    return json.dumps(info, sort_keys=True)
