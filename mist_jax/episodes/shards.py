"""The ArrayRecord shards of a dataset and the file that makes them count: `dataset_info.json`.

A shard is part of the dataset once `dataset_info.json` gives its length, and that file is replaced
in one atomic step, so the folder is a whole dataset for stock `tensorflow_datasets` at any moment.
Shards are numbered without their total, so adding one renames no other.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mist_jax.disk import PARTIAL, partial_path, publish, replace_file
from mist_jax.episodes.dataset_info import INFO_FILE
from mist_jax.errors import UserError

TFDS_INFO_FILE = "dataset_info.json"
DATASET_NAME = "mist_episodes"
VERSION = "1.0.0"


def shard_path(directory: Path, index: int) -> Path:
    """Where shard `index` lies."""
    return directory / f"{DATASET_NAME}-train-{index:05d}.array_record"


def shards_there(directory: Path) -> list[Path]:
    """The files of all shards, in order, whether they count or not."""
    return sorted(directory.glob(f"{DATASET_NAME}-train-*.array_record"))


def load_shards(directory: Path) -> tuple[int, ...]:
    """The number of episodes in each shard; empty where no dataset was begun.

    Raises:
        UserError: the file is damaged, belongs to another dataset, or is missing beside episodes.
    """
    path = directory / TFDS_INFO_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        name = values["name"]
        lengths = tuple(_positive(length) for length in values["splits"][0].get("shardLengths", ()))
    except (FileNotFoundError, NotADirectoryError):
        # It is written before `dataset.json` and before any shard.
        if (directory / INFO_FILE).exists() or shards_there(directory):
            raise UserError(
                f"{directory} has episodes but no {TFDS_INFO_FILE}; restore it from a copy"
            ) from None
        return ()
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise UserError(f"{path} is damaged ({error!r}); restore it from a copy") from None
    if name != DATASET_NAME:
        raise UserError(f"{directory} holds the dataset {name!r}; use another folder")
    return lengths


def _positive(length: object) -> int:
    if not isinstance(length, str | int) or isinstance(length, bool) or int(length) < 1:
        raise ValueError(f"a shard of {length!r} episodes")
    return int(length)


def commit_shards(directory: Path, lengths: Sequence[int]) -> None:
    """Makes the first `len(lengths)` shards, with so many episodes each, the dataset."""
    sizes = (shard_path(directory, index).stat().st_size for index in range(len(lengths)))
    split = {
        "name": "train",
        "filepathTemplate": "{DATASET}-{SPLIT}-{SHARD_INDEX}.{FILEFORMAT}",
        "shardLengths": [str(length) for length in lengths],
        "numBytes": str(sum(sizes)),
    }
    values = {
        "name": DATASET_NAME,
        "version": VERSION,
        "description": "Robot episodes with contacts and policy activations, by mist_jax.",
        "fileFormat": "array_record",
        "splits": [split],
    }
    replace_file(directory / TFDS_INFO_FILE, json.dumps(values, indent=1).encode())


def write_shard(directory: Path, index: int, records: Iterable[bytes]) -> None:
    """Writes shard `index`, whole or not at all; it counts only after `commit_shards`."""
    from array_record.python.array_record_module import ArrayRecordWriter

    path = shard_path(directory, index)
    try:
        # One record per group, so that readers fetch single episodes.
        writer = ArrayRecordWriter(str(partial_path(path)), "group_size:1")
        for record in records:
            writer.write(record)
        writer.close()
        publish(path)
    finally:
        partial_path(path).unlink(missing_ok=True)


def read_shard(path: Path, positions: Iterable[int]) -> Iterator[bytes]:
    """The records of a shard at these positions, one at a time.

    Raises:
        UserError: the file is missing or damaged.
    """
    from array_record.python.array_record_module import ArrayRecordReader

    try:
        path.stat()
        reader = ArrayRecordReader(str(path), "readahead_buffer_size:0")
        for position in positions:
            (record,) = reader.read([position])
            yield record
        # Not in a `finally`: closing a damaged file raises a second time.
        reader.close()
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} is damaged or missing ({reason}); restore it from a copy"
        ) from None


def remove_unfinished(directory: Path, shards: int) -> None:
    """Deletes what an interrupted process left: partial files, and shards that do not count."""
    for path in directory.glob(f"*{PARTIAL}"):
        path.unlink()
    for path in shards_there(directory):
        if path >= shard_path(directory, shards):
            path.unlink()
