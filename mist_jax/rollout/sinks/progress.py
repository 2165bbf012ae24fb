"""The progress of a run: how much is left, and how the episodes ended so far."""

from collections.abc import Callable
from typing import Protocol

from mist_jax.progress import ProgressBar
from mist_jax.record.episode import Episode, EpisodeKey


class Tally(Protocol):
    """Counts episodes; its text stands beside the bar."""

    def count(self, key: EpisodeKey, outcome: str, *, harmful: bool) -> None:
        """Counts one, run now or stored before; `harmful`: it had a harmful contact."""
        ...

    def __str__(self) -> str: ...


class ProgressSink:
    """Moves the bar by as much as an episode lessened what is `missing`."""

    def __init__(
        self, bar: ProgressBar, missing: Callable[[], int], tally: Tally, note: Callable[[], str]
    ):
        self._bar, self._missing, self._tally, self._note = bar, missing, tally, note
        self._before = missing()

    def put(self, episode: Episode) -> None:
        """Counts it and shows the count."""
        self._tally.count(episode.key, episode.outcome, harmful=episode.collided)
        left = self._missing()
        texts = (str(self._tally), self._note())
        self._bar.advance(self._before - left, ", ".join(text for text in texts if text))
        self._before = left
