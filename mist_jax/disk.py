"""Files that are either whole or absent: written beside, forced to the disk, renamed."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    with whole_file(path) as beside:
        beside.write_bytes(content)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """The block writes `partial_path(path)`, which then becomes `path`; failing, it leaves none."""
    beside = partial_path(path)
    try:
        yield beside
        publish(path)
    finally:
        with suppress(OSError):
            beside.unlink()


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """The block writes a folder beside, `.NAME.writing`, which then takes the place of `folder`.

    Where `folder` is a link, that is the place of what it leads to. Where the block fails, nothing
    of it is left, and an old `folder` stays. The old one is deleted once the new one is in place:
    until then it is `.NAME.old`, and what a killed process left so is put back by the next.

    Raises:
        UserError: the file system, or the quota, is full; or the new folder cannot be put in place:
            then the old one is there as before, and the new one stays beside.
    """
    folder = folder.resolve()
    beside = folder.with_name(f".{folder.name}.writing")
    old = folder.with_name(f".{folder.name}.old")
    try:
        with full_disk_is_clear(folder):
            if not os.path.lexists(folder) and old.is_dir():
                old.rename(folder)
            _remove(old)
            _remove(beside)
            beside.mkdir(parents=True)
            yield beside
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    _put_in_place(beside, folder, old)
    shutil.rmtree(old, ignore_errors=True)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):
        raise UserError(f"{folder} was left by an earlier run and cannot be removed: remove it")


def _put_in_place(new: Path, folder: Path, old: Path) -> None:
    try:
        if folder.is_dir():
            folder.rename(old)
        new.rename(folder)
    except BaseException as error:
        if old.is_dir() and not os.path.lexists(folder):
            old.rename(folder)
        if isinstance(error, OSError):
            raise UserError(
                f"{folder} cannot be replaced ({error.strerror}): it is as it was, and what was to "
                f"take its place is in {new}"
            ) from error
        raise


@contextmanager
def full_disk_is_clear(directory: Path) -> Iterator[None]:
    """Turns the errors of a full disk into one clear line.

    ArrayRecord and Orbax report a failed write as an error of their own kind, with the system's
    message in it.

    Raises:
        UserError: the file system, or the quota, is full.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        full = getattr(error, "errno", None) in _FULL or any(
            os.strerror(code) in str(error) for code in _FULL
        )
        if not full:
            raise
        raise UserError(
            f"no space left to write to {directory}; what is already there is whole: free some "
            "space and run the same command again"
        ) from error
