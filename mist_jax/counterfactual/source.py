"""Which branches a dataset still lacks, in an order that lets workers keep a fork's state."""

from collections import deque
from collections.abc import Iterable

from mist_jax.counterfactual.branch import Branch, fork_and_offset
from mist_jax.episodes.index import EpisodeEntry
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.rollout.episode_spec import EpisodeSpec, ImageRate, TaskName
from mist_jax.simulator.environment.perturbation import PerturbationSpec

ForkName = tuple[EpisodeKey, int]


class BranchSource:
    """An `EpisodeSource`: every branch once.

    The branches of a fork come one after the other, on the worker that has just ended one of them
    and keeps the state. A worker whose fork has no more begins another fork, of the same task where
    there is one; when all have begun, it helps the fork with the most left. So no worker ever
    waits.
    """

    def __init__(
        self,
        branches: Iterable[Branch],
        perturbation: PerturbationSpec | None = None,
        images: ImageRate = "none",
    ):
        """Branches of episodes that met `perturbation`, and the pictures to keep (no `step`)."""
        self._perturbation = perturbation
        self._images: ImageRate = images
        self._waiting: dict[ForkName, dict[EpisodeKey, Branch]] = {}
        for branch in branches:
            of_fork = self._waiting.setdefault(_name(branch.key), {})
            of_fork[branch.key] = branch
        self._begun: set[ForkName] = set()
        self._freed: deque[ForkName] = deque()
        self._running = 0

    @property
    def missing(self) -> int:
        """How many have not ended."""
        return self._running + sum(map(len, self._waiting.values()))

    def recall(self, entry: EpisodeEntry) -> None:
        """Takes a stored branch off the list; others are none of its business."""
        for branches in self._waiting.values():
            branches.pop(entry.key, None)

    def settle(self, episode: Episode) -> Episode:
        """Takes it off the list: its worker is free for another branch of its fork."""
        self._running -= 1
        self._freed.append(_name(episode.key))
        return episode

    def draw(self, loaded: TaskName | None) -> EpisodeSpec | None:
        """The next branch; that of the fork that was freed last says more than what is loaded."""
        if not any(self._waiting.values()):
            return None
        fork = self._choose()
        self._begun.add(fork)
        branches = self._waiting[fork]
        branch = branches.pop(next(iter(branches)))
        self._running += 1
        return EpisodeSpec(
            branch.key,
            perturbation=self._perturbation,
            images=self._images,
            prefix=branch.fork.prefix,
        )

    def _choose(self) -> ForkName:
        left = {fork: len(branches) for fork, branches in self._waiting.items() if branches}
        freed = self._freed.popleft() if self._freed else None
        if freed in left:
            return freed
        fresh = [fork for fork in left if fork not in self._begun]
        if freed is not None:
            fresh.sort(key=lambda fork: _task(fork) != _task(freed))  # stable
        return fresh[0] if fresh else max(left, key=lambda fork: left[fork])


def _name(key: EpisodeKey) -> ForkName:
    return fork_and_offset(key)[:2]


def _task(fork: ForkName) -> tuple[str, int]:
    return fork[0].suite, fork[0].task_id
