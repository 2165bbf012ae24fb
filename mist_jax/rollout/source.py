"""Which episodes a dataset still lacks."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from mist_jax.episodes.index import EpisodeEntry
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.rollout.episode_spec import EpisodeSpec


class EpisodeSource(Protocol):
    """Iterates over the episodes to run; None means "not before another one has ended"."""

    @property
    def missing(self) -> int:
        """How many episodes are still wanted."""
        ...

    def recall(self, entry: EpisodeEntry) -> None:
        """Counts an episode that an earlier run has stored."""
        ...

    def __iter__(self) -> Iterator[EpisodeSpec | None]: ...

    def settle(self, episode: Episode) -> Episode:
        """Counts an episode that has ended, and marks it where it is surplus."""
        ...


class Listed:
    """A source of given episodes, each run once, in order."""

    def __init__(self, specs: Iterable[EpisodeSpec]):
        self._left: dict[EpisodeKey, EpisodeSpec] = {spec.key: spec for spec in specs}

    @property
    def missing(self) -> int:
        """How many have not ended."""
        return len(self._left)

    def recall(self, entry: EpisodeEntry) -> None:
        """Takes a stored episode off the list; others are none of its business."""
        self._left.pop(entry.key, None)

    def __iter__(self) -> Iterator[EpisodeSpec | None]:
        yield from tuple(self._left.values())

    def settle(self, episode: Episode) -> Episode:
        """Takes it off the list."""
        del self._left[episode.key]
        return episode
