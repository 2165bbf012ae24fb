"""A progress bar with a rate and an ETA; plain lines now and then where there is no terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

_SECONDS_BETWEEN_LINES = 30.0


class ProgressBar:
    """Shows how much of `total` is done. The rate and the ETA count from the first advance, so
    that what an earlier run did (`advance` before any work, `resumed`) does not flatter them.
    """

    def __init__(self, what: str, total: int, unit: str, console: Console, bar: Progress):
        self._what, self._total, self._unit = what, total, unit
        self._console, self._bar = console, bar
        self._task: TaskID = bar.add_task(what, total=total, pace="", text="")
        self._began = self._printed = time.monotonic()
        self._done = self._here = 0
        self._text = ""

    def advance(self, count: int = 1, text: str = "", *, resumed: bool = False) -> None:
        """Counts `count` more as done, and shows `text` (running figures) beside."""
        self._done += count
        self._here += 0 if resumed else count
        self._text = text or self._text
        self._bar.update(self._task, completed=self._done, pace=self._pace(), text=self._text)
        if time.monotonic() - self._printed >= _SECONDS_BETWEEN_LINES:
            self._print_line()

    def note(self, text: str) -> None:
        """Prints a line above the bar."""
        self._bar.console.print(text, highlight=False, markup=False)

    def finish(self) -> None:
        """Prints the last line, where lines are what is shown."""
        self._print_line()

    def _pace(self) -> str:
        elapsed = time.monotonic() - self._began
        if not self._here:
            return ""
        rate = self._here / elapsed
        pace = f"{rate:.1f} {self._unit}s/s" if rate >= 1 else f"{60 * rate:.1f} {self._unit}s/min"
        return f"{pace}, {_clock((self._total - self._done) / rate)} left"

    def _print_line(self) -> None:
        if self._console.is_terminal:
            return
        self._printed = time.monotonic()
        parts = [f"{self._what}: {self._done}/{self._total}", self._pace(), self._text]
        self.note("  ".join(part for part in parts if part))


@contextmanager
def progress_bar(what: str, total: int, unit: str) -> Iterator[ProgressBar]:
    """Shows the progress of a long run on standard error while the block runs."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}  {task.fields[text]}"),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    with bar:
        progress = ProgressBar(what, total, unit, console, bar)
        try:
            yield progress
        finally:
            progress.finish()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
