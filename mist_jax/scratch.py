"""Temporary folders that the next run removes where this process could not: it was killed.

Each holds a file `owner` that its owner keeps locked: the lock ends with the process, however it
ends, and no other process can have it, as it could a process id.
"""

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PREFIX = "mist_"
_OWNER = "owner"
_TRIES = 20


class Scratch:
    """A folder of this process in $TMPDIR; making one removes those of dead owners."""

    def __init__(self) -> None:
        remove_dead(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        # Locked under another name first: what is called owner is never seen unlocked.
        beside = self.path / f"{_OWNER}.new"
        self._lock = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.write(self._lock, f"process {os.getpid()}, started {_start_time()}\n".encode())
        beside.rename(self.path / _OWNER)

    def remove(self) -> None:
        """Removes the folder; a second time does nothing."""
        if self._lock >= 0:
            for _ in range(_TRIES):
                _remove(self.path)
                if not self.path.exists():
                    break
                time.sleep(0.1)  # what was just ended still writes
            os.close(self._lock)
            self._lock = -1


def remove_dead(directory: Path) -> None:
    """Removes the scratch folders of this user in `directory` whose owner is dead.

    Others stay: those of other users, those without an owner's name, links.
    """
    for folder in directory.glob(f"{PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(folder / _OWNER, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # it lives
        else:
            _remove(folder)
        finally:
            os.close(lock)


def _remove(folder: Path) -> None:
    """Removes it unless it is in use; the owner's name goes last, so that what is left is found."""
    if _in_use(folder):
        return
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _OWNER:
                path.unlink()
        if [path.name for path in folder.iterdir()] == [_OWNER]:
            (folder / _OWNER).unlink()
            folder.rmdir()


def _in_use(folder: Path) -> bool:
    """Whether a process was started with it: those of a killed owner live on for a moment, and
    would make the folder again.
    """
    name = str(folder).encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended, or is another user's
            if name in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
                return True
    return False


def _start_time() -> str:
    """Clock ticks since the machine's start at which this process began, "" where unknown."""
    try:
        return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
