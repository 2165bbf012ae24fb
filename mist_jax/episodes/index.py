"""The index of a dataset, `episodes.jsonl`: one line per stored episode, in the records' order.

It answers what is already there without reading the records, and its checksums prove them.
"""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mist_jax.episodes.dataset_info import load_info
from mist_jax.episodes.shards import load_shards
from mist_jax.errors import UserError
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
        """The inverse of `as_line`, parsed; KeyError or TypeError where the values do not fit."""
        return EpisodeEntry(**{**values, "key": EpisodeKey(**values["key"])})


def read_index(directory: Path) -> tuple[EpisodeEntry, ...]:
    """The entries of all stored episodes; lines beyond them belong to an interrupted write.

    Raises:
        UserError: there is no dataset, or its index is damaged.
    """
    load_info(directory)
    path = directory / INDEX_FILE
    count = sum(load_shards(directory))
    entries: list[EpisodeEntry] = []
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
        for line in lines[:count]:
            entries.append(EpisodeEntry.from_json(json.loads(line)))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged at line {len(entries) + 1} ({error!r}); restore it from a copy"
        ) from None
    if len(entries) < count:
        raise UserError(
            f"{path} has {len(entries)} of {count} episodes; restore the file from a copy"
        )
    return tuple(entries)


def index_bytes(directory: Path, count: int) -> int:
    """The length in bytes of the index's first `count` lines."""
    path = directory / INDEX_FILE
    lines = path.read_bytes().splitlines(keepends=True) if count else []
    return sum(len(line) for line in lines[:count])


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


def dataset_hash(directory: Path) -> str:
    """SHA-256 of the episodes' content and of what they have in common.

    The same for the same episodes in another order or in other shards. Risk heads and steering
    banks store it to say what they were learnt from.

    Raises:
        UserError: there is no dataset, or its index is damaged.
    """
    info = load_info(directory).as_json()
    for name in ("commands", "code_versions"):
        del info[name]
    digest = hashlib.sha256(json.dumps(info, sort_keys=True).encode())
    for checksum in sorted(entry.sha256 for entry in read_index(directory)):
        digest.update(checksum.encode())
    return digest.hexdigest()
