"""Which episodes a dataset still lacks."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Protocol

from mist_jax.episodes.index import EpisodeEntry
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.rollout.episode_spec import EpisodeSpec, TaskName


class EpisodeSource(Protocol):
    """Hands out the episodes to run, one by one."""

    @property
    def missing(self) -> int:
        """How many episodes are still wanted."""
        ...

    def recall(self, entry: EpisodeEntry) -> None:
        """Counts an episode that an earlier run has stored."""
        ...

    def draw(self, loaded: TaskName | None) -> EpisodeSpec | None:
        """An episode to run now, or None: there is none, or not before another one has ended.

        Args:
            loaded: the task whose scene an idle worker has built: another takes it seconds.
        """
        ...

    def settle(self, episode: Episode) -> Episode:
        """Counts an episode that has ended, and marks it where it is surplus."""
        ...


def choose_task(
    left: Mapping[TaskName, int], running: Mapping[TaskName, int], loaded: TaskName | None
) -> TaskName:
    """The task of the next episode: the one that is loaded, else that which needs hands most.

    So workers spread over the tasks, and stay with theirs while it has episodes left.

    Args:
        left: tasks that can begin an episode (at least one), and how many.
        running: episodes of each that run now.
        loaded: the task of the worker that is idle.
    """
    if loaded is not None and loaded in left:
        return loaded
    return max(
        left, key=lambda task: left[task] / (1 + running.get(task, 0))
    )  # the first of equals


class Listed:
    """A source of given episodes, each run once; those of a task in order."""

    def __init__(self, specs: Iterable[EpisodeSpec]):
        self._left: dict[EpisodeKey, EpisodeSpec] = {spec.key: spec for spec in specs}
        self._waiting: dict[TaskName, deque[EpisodeKey]] = {}
        for spec in self._left.values():
            self._waiting.setdefault(spec.task, deque()).append(spec.key)
        self._running: Counter[TaskName] = Counter()

    @property
    def missing(self) -> int:
        """How many have not ended."""
        return len(self._left)

    def recall(self, entry: EpisodeEntry) -> None:
        """Takes a stored episode off the list; others are none of its business."""
        self._left.pop(entry.key, None)

    def draw(self, loaded: TaskName | None) -> EpisodeSpec | None:
        """The next one of a task; None: all have begun."""
        for waiting in self._waiting.values():
            while waiting and waiting[0] not in self._left:
                waiting.popleft()  # recalled
        left = {task: len(waiting) for task, waiting in self._waiting.items() if waiting}
        if not left:
            return None
        task = choose_task(left, self._running, loaded)
        self._running[task] += 1
        return self._left[self._waiting[task].popleft()]

    def settle(self, episode: Episode) -> Episode:
        """Takes it off the list."""
        self._running[self._left.pop(episode.key).task] -= 1
        return episode
