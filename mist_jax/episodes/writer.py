"""Writes episodes into a dataset, one by one, so that a killed process loses only the running one.

Each episode is first a shard of its own; full groups are merged, so that thousands of episodes do
not mean thousands of files. Order of every append: the record's file, its line of the index, then
`dataset_info.json`, which makes both count.
"""

import datetime
import fcntl
import hashlib
import os
import tempfile
from pathlib import Path
from types import TracebackType

from mist_jax.disk import full_disk_is_clear, replace_file
from mist_jax.episodes.codec import encode_episode
from mist_jax.episodes.dataset_info import (
    INFO_FILE,
    DatasetInfo,
    continue_dataset,
    load_sidecar,
    save_sidecar,
)
from mist_jax.episodes.index import (
    EpisodeEntry,
    append_entry,
    check_nothing_else,
    index_bytes,
    read_index,
)
from mist_jax.episodes.schema import episode_features
from mist_jax.episodes.shards import (
    commit_shards,
    load_shards,
    read_shard,
    remove_unfinished,
    shard_path,
    shards_there,
    write_shard,
)
from mist_jax.errors import UserError
from mist_jax.output_folder import check_output
from mist_jax.record.episode import Episode, EpisodeKey

_LOCK_FILE = ".lock"
# A merged shard is read and written once more; at 20 MB per episode of a 7B model this is 1.3 GB.
_EPISODES_PER_SHARD = 64


class EpisodeWriter:
    """Adds episodes to the dataset in a folder, begun now or by an earlier run.

    Raises:
        UserError: the folder holds something else than such a dataset, or episodes of another
            model, other assets or other settings, is written to by another process, is damaged, or
            the disk is full.
    """

    def __init__(self, directory: Path, info: DatasetInfo):
        self.directory = Path(directory)
        check_output(self.directory, info.kind)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.directory)
        except OSError as error:
            raise UserError(
                f"{self.directory} cannot be written to ({error.strerror}); name another folder"
            ) from error
        try:
            with full_disk_is_clear(self.directory):
                self._open(info)
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self, info: DatasetInfo) -> None:
        self._lengths = list(load_shards(self.directory))
        begun = (self.directory / INFO_FILE).exists()
        if begun:
            sidecar = load_sidecar(self.directory)
            there = DatasetInfo.from_json(sidecar["info"])
            self.info = continue_dataset(there, info, self.directory)
        elif self._lengths or shards_there(self.directory):
            raise UserError(
                f"{self.directory} has episodes but no {INFO_FILE}; restore it from a copy"
            )
        else:
            self.info = info
        check_nothing_else(self.directory, self._lengths)
        if begun:  # else what is there is somebody else's
            remove_unfinished(self.directory, len(self._lengths))
        if not self._lengths:
            _save_features(self.directory, self.info)
            commit_shards(self.directory, ())
        # Last, for it is what tells a begun dataset from an empty folder; an old summary is void.
        save_sidecar(self.directory, self.info, None)
        self._entries = {entry.key: entry for entry in read_index(self.directory)}
        self._index_bytes = index_bytes(self.directory, len(self._entries))

    @property
    def entries(self) -> tuple[EpisodeEntry, ...]:
        """Key, outcome and surplus mark of every stored episode, oldest first."""
        return tuple(self._entries.values())

    def keys(self) -> set[EpisodeKey]:
        """The keys of all stored episodes."""
        return set(self._entries)

    def append(self, episode: Episode) -> None:
        """Stores one episode; once this returns, no crash can lose it.

        Raises:
            ValueError: the episode does not fit the dataset, or its key is already there.
            UserError: the disk is full; what was stored before stays whole.
        """
        if episode.key in self._entries:
            raise ValueError(f"episode {episode.key} is already in {self.directory}")
        record = encode_episode(episode, self.info)
        checksum = hashlib.sha256(record).hexdigest()
        entry = EpisodeEntry(
            episode.key,
            episode.outcome,
            episode.surplus,
            episode.collided,
            stored=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            sha256=checksum,
        )
        with full_disk_is_clear(self.directory):
            write_shard(self.directory, len(self._lengths), [record])
            length = append_entry(self.directory, entry, self._index_bytes)
            commit_shards(self.directory, [*self._lengths, 1])
            self._lengths.append(1)
            self._index_bytes = length
            self._entries[entry.key] = entry
            if sum(self._lengths[self._first_open() :]) >= _EPISODES_PER_SHARD:
                self._merge()

    def close(self) -> None:
        """Merges the last small shards and lets other processes write."""
        if self._lock < 0:
            return
        try:
            with full_disk_is_clear(self.directory):
                self._merge()
        finally:
            self._unlock()

    def __enter__(self) -> "EpisodeWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._unlock()

    def _unlock(self) -> None:
        os.close(self._lock)
        self._lock = -1

    def _first_open(self) -> int:
        full = [i for i, length in enumerate(self._lengths) if length >= _EPISODES_PER_SHARD]
        return full[-1] + 1 if full else 0

    def _merge(self) -> None:
        """Puts all shards after the last full one into one.

        Between replacing the first of them and the commit, its length is still the old one: readers
        then see its old episodes, which come first, and the other old shards.
        """
        first, end = self._first_open(), len(self._lengths)
        if end - first < 2:
            return
        tail = range(first, end)
        write_shard(
            self.directory,
            first,
            (
                record
                for index in tail
                for record in read_shard(
                    shard_path(self.directory, index), range(self._lengths[index])
                )
            ),
        )
        lengths = [*self._lengths[:first], sum(self._lengths[first:])]
        commit_shards(self.directory, lengths)
        self._lengths = lengths
        remove_unfinished(self.directory, len(lengths))


def _lock(directory: Path) -> int:
    descriptor = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(
            f"another process is writing to {directory}; wait for it or use another folder"
        ) from None
    return descriptor


def _save_features(directory: Path, info: DatasetInfo) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        episode_features(info).save_config(scratch)
        content = (Path(scratch) / "features.json").read_bytes()
    replace_file(directory / "features.json", content)
