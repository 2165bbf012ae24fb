"""Which episodes a collection still has to run: quotas, caps, initial states not drawn twice."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mist_jax.episodes.index import EpisodeEntry
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.rollout.episode_spec import EpisodeSpec, TaskName
from mist_jax.rollout.source import choose_task


@dataclass(frozen=True)
class Quotas:
    """Per task: how many episodes of each outcome are wanted, and how many may be tried.

    Without wanted numbers (None), every attempt is made and none is surplus.
    """

    max_attempts: int
    n_success: int | None = None
    n_failure: int | None = None

    def missing(self, outcomes: Counter[str]) -> int:
        """How many more episodes of the right outcome are wanted, after these."""
        if self.n_success is None or self.n_failure is None:
            return max(self.max_attempts - outcomes.total(), 0)
        successes = max(self.n_success - outcomes["success"], 0)
        return successes + max(self.n_failure - outcomes["failure"], 0)

    def is_surplus(self, outcome: str, before: Counter[str]) -> bool:
        """Whether an episode of this outcome was no longer wanted."""
        wanted = {"success": self.n_success, "failure": self.n_failure}.get(outcome)
        return wanted is not None and before[outcome] >= wanted


@dataclass
class _TaskState:
    initial_states: tuple[int, ...]
    outcomes: Counter[str] = field(default_factory=Counter)
    draws: Counter[int] = field(default_factory=Counter)  # per initial state
    running: int = 0


class Attempts:
    """An `EpisodeSource` that tries until the quotas are met.

    `initial_states` are those of each task, by task id. Draws None where every missing episode may
    be among those that are running now: no task has more episodes running than are missing, which
    keeps the surplus small.
    """

    def __init__(
        self,
        suite: str,
        initial_states: Mapping[int, tuple[int, ...]],
        seed: int,
        quotas: Quotas,
        spec_of: Callable[[EpisodeKey], EpisodeSpec],
    ):
        self._suite, self._seed, self._quotas, self._spec_of = suite, seed, quotas, spec_of
        self._tasks = {task_id: _TaskState(states) for task_id, states in initial_states.items()}
        self._used: set[EpisodeKey] = set()

    def recall(self, entry: EpisodeEntry) -> None:
        """Counts an episode that an earlier run has stored."""
        key = entry.key
        self._used.add(key)
        if key.suite == self._suite and key.task_id in self._tasks:
            task = self._tasks[key.task_id]
            task.outcomes[entry.outcome] += 1
            task.draws[key.initial_state] += 1

    def settle(self, episode: Episode) -> Episode:
        """Counts an episode that has ended, and marks it where it is surplus."""
        task = self._tasks[episode.key.task_id]
        surplus = self._quotas.is_surplus(episode.outcome, task.outcomes)
        task.running -= 1
        task.outcomes[episode.outcome] += 1
        return dataclasses.replace(episode, surplus=surplus)

    @property
    def outcomes(self) -> Counter[str]:
        """Outcomes so far, over all tasks."""
        return sum((task.outcomes for task in self._tasks.values()), Counter())

    @property
    def missing(self) -> int:
        """Episodes still wanted over all tasks that have attempts left or running."""
        return sum(
            min(self._quotas.missing(task.outcomes), self._left(task) + task.running)
            for task in self._tasks.values()
        )

    def draw(self, loaded: TaskName | None) -> EpisodeSpec | None:
        """A new attempt at a task that lacks more than run now."""
        left = {
            (self._suite, task_id): count
            for task_id, task in self._tasks.items()
            if (count := min(self._left(task), self._quotas.missing(task.outcomes) - task.running))
            > 0
        }
        if not left:
            return None
        running = {(self._suite, task_id): task.running for task_id, task in self._tasks.items()}
        return self._attempt(choose_task(left, running, loaded)[1])

    def _left(self, task: _TaskState) -> int:
        return max(self._quotas.max_attempts - task.outcomes.total() - task.running, 0)

    def _attempt(self, task_id: int) -> EpisodeSpec:
        task = self._tasks[task_id]
        state = min(task.initial_states, key=lambda state: (task.draws[state], state))
        seed = self._seed
        while (key := EpisodeKey(self._suite, task_id, state, seed)) in self._used:
            seed += 1
        self._used.add(key)
        task.draws[state] += 1
        task.running += 1
        return self._spec_of(key)
