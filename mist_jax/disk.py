"""Files that are either whole or absent: written beside, forced to the disk, renamed."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mist_jax.errors import UserError

# Files with this ending are never part of a dataset.
PARTIAL = ".partial"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def partial_path(path: Path) -> Path:
    """Where the file that will be `path` is written."""
    return path.with_name(path.name + PARTIAL)


def publish(path: Path) -> None:
    """Makes the finished `partial_path(path)` appear as `path`, and last."""
    descriptor = os.open(partial_path(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial_path(path).replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def replace_file(path: Path, content: bytes) -> None:
    """Replaces `path` by `content` in one atomic step."""
    partial_path(path).write_bytes(content)
    publish(path)


@contextmanager
def full_disk_is_clear(directory: Path) -> Iterator[None]:
    """Turns the errors of a full disk into one clear line.

    ArrayRecord reports every failed write as a RuntimeError with the system's message in it.

    Raises:
        UserError: the file system, or the quota, is full.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError):
            full = error.errno in _FULL
        else:
            full = any(os.strerror(code) in str(error) for code in _FULL)
        if not full:
            raise
        raise UserError(
            f"no space left to write to {directory}; the episodes already there are whole: "
            "free some space and run the same command again"
        ) from error
