"""One line of progress that rewrites itself: what runs, how far, how fast, how long still."""

import sys
import time
from typing import Self


class ProgressLine:
    """Shown on a terminal as it runs; in a file, one line per finished part.

    with ProgressLine("epoch", total=100) as line:
        line.show("head", 10)
    """

    def __init__(self, unit: str, total: int):
        self._unit, self._total = unit, total
        self._part, self._began, self._text = "", time.monotonic(), ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close_part()

    def show(self, part: str, done: int) -> None:
        """`part` has reached `done` of the total."""
        if part != self._part:
            self._close_part()
            self._part, self._began = part, time.monotonic()
        seconds = max(time.monotonic() - self._began, 1e-9)
        left = seconds * (self._total - done) / max(done, 1)
        self._text = (
            f"{part}: {self._unit} {done}/{self._total}, {done / seconds:.1f}/s, "
            f"at most {left:.0f} s left"
        )
        if sys.stdout.isatty():
            print(f"\r{self._text:<78}", end="", flush=True)

    def _close_part(self) -> None:
        if self._part:
            end = "\r" if sys.stdout.isatty() else ""
            seconds = time.monotonic() - self._began
            print(f"{end}{self._part}: done in {seconds:.0f} s{'':<50}".rstrip(), flush=True)
            self._part = ""
