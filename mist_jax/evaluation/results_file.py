"""`episodes.jsonl`: results appended one whole line at a time, by one process at a time."""

import fcntl
import os
from pathlib import Path
from typing import Self

from mist_jax.disk import full_disk_is_clear
from mist_jax.errors import UserError
from mist_jax.evaluation.results import EpisodeResult, parse_results

RESULTS_FILE = "episodes.jsonl"


class ResultsFile:
    """The results in a folder, open for more; use as a context manager.

    A line is one write that is forced to the disk. What a killed process left of a line is cut off
    when the file is opened again, and its episode counts as not run.
    """

    def __init__(self, folder: Path):
        """Opens, or begins, the results in `folder`.

        Raises:
            UserError: the folder cannot be written to, another process writes to it, or a line
                is damaged.
        """
        self._path = folder / RESULTS_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise UserError(
                f"{folder} cannot be written to ({error.strerror}); name another folder"
            ) from error
        try:
            self._lock()
            self.results = self._recover()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def append(self, result: EpisodeResult) -> None:
        """Adds one result; it is on the disk when this returns.

        Raises:
            UserError: the disk is full; what was there is whole.
        """
        line = result.as_line().encode() + b"\n"
        end = os.fstat(self._file).st_size
        with full_disk_is_clear(self._path.parent):
            try:
                written = os.write(self._file, line)
                while written < len(line):
                    written += os.write(self._file, line[written:])
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, end)
                raise
        self.results.append(result)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is writing to {self._path}; wait for it or use another folder"
            ) from None

    def _recover(self) -> list[EpisodeResult]:
        whole, _, torn = self._path.read_bytes().rpartition(b"\n")
        if torn:
            os.ftruncate(self._file, len(whole) + 1 if whole else 0)
        return parse_results(whole.splitlines(), str(self._path))


def read_results(folder: Path) -> list[EpisodeResult]:
    """The results of a folder, of whole lines only.

    Raises:
        UserError: there are none, or a line is damaged.
    """
    path = folder / RESULTS_FILE
    if not path.is_file():
        raise UserError(f"{folder} holds no evaluation: it has no {RESULTS_FILE}")
    whole = path.read_bytes().rpartition(b"\n")[0]
    return parse_results(whole.splitlines(), str(path))
