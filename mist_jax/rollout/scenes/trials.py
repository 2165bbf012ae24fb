"""Which scenes of a pool are still to be tried, until each task has enough good ones."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from mist_jax.episodes.index import EpisodeEntry
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.rollout.episode_spec import EpisodeSpec, TaskName
from mist_jax.rollout.scenes.good_scene import is_good_scene
from mist_jax.rollout.source import choose_task


@dataclass
class _TaskTrials:
    accepted: set[int] = field(default_factory=set)
    rejected: set[int] = field(default_factory=set)
    running: set[int] = field(default_factory=set)

    @property
    def ended(self) -> set[int]:
        return self.accepted | self.rejected

    @property
    def tried(self) -> int:
        return len(self.ended) + len(self.running)


class SceneTrials:
    """An `EpisodeSource`: one episode in each scene, in order; a good one accepts the scene.

    No more run at once than are wanted, so the accepted ones are the first of `scenes` that are
    good, whatever the number of workers. Draws None where those that run now may be enough.
    """

    def __init__(
        self,
        suite: str,
        task_ids: Iterable[int],
        scenes: Sequence[int],
        n_scenes: int,
        seed: int,
        spec_of: Callable[[EpisodeKey], EpisodeSpec],
        known_good: Collection[EpisodeKey] = (),
    ):
        """Wants `n_scenes` of `scenes` for every task, all of whose episodes have `seed`.

        Of the episodes that an earlier run has stored, `known_good` are those of good scenes.
        """
        self._suite, self._seed, self._spec_of = suite, seed, spec_of
        self._scenes, self._n_scenes, self._known_good = scenes, n_scenes, known_good
        self._tasks = {task_id: _TaskTrials() for task_id in task_ids}

    @property
    def accepted(self) -> dict[int, tuple[int, ...]]:
        """The accepted scenes so far, ascending, by task id."""
        return {task_id: tuple(sorted(task.accepted)) for task_id, task in self._tasks.items()}

    def has_tried(self, key: EpisodeKey) -> bool:
        """Whether this episode has ended and is one of those that are wanted here."""
        return self._wants(key) and key.initial_state in self._tasks[key.task_id].ended

    def has_accepted(self, key: EpisodeKey) -> bool:
        """Whether its scene is among the accepted ones."""
        return self._wants(key) and key.initial_state in self._tasks[key.task_id].accepted

    @property
    def missing(self) -> int:
        """Scenes still wanted of all tasks that have some left to try, or running."""
        return sum(
            min(self._wanted(task), len(self._scenes) - task.tried + len(task.running))
            for task in self._tasks.values()
        )

    def recall(self, entry: EpisodeEntry) -> None:
        """Counts an episode that an earlier run has stored."""
        if self._wants(entry.key):
            self._count(entry.key, good=entry.key in self._known_good)

    def settle(self, episode: Episode) -> Episode:
        """Counts an episode that has ended."""
        self._tasks[episode.key.task_id].running.discard(episode.key.initial_state)
        self._count(episode.key, good=is_good_scene(episode))
        return episode

    def draw(self, loaded: TaskName | None) -> EpisodeSpec | None:
        """The next scene of a task that lacks more than are tried now."""
        left = {
            (self._suite, task_id): self._wanted(task) - len(task.running)
            for task_id, task in self._tasks.items()
            if task.tried < len(self._scenes) and self._wanted(task) > len(task.running)
        }
        if not left:
            return None
        running = {(self._suite, i): len(task.running) for i, task in self._tasks.items()}
        return self._begin(choose_task(left, running, loaded)[1])

    def _wanted(self, task: _TaskTrials) -> int:
        return max(self._n_scenes - len(task.accepted), 0)

    def _begin(self, task_id: int) -> EpisodeSpec:
        task = self._tasks[task_id]
        known = task.ended | task.running
        scene = next(scene for scene in self._scenes if scene not in known)
        task.running.add(scene)
        return self._spec_of(self._key(task_id, scene))

    def _count(self, key: EpisodeKey, *, good: bool) -> None:
        task = self._tasks[key.task_id]
        (task.accepted if good else task.rejected).add(key.initial_state)

    def _wants(self, key: EpisodeKey) -> bool:
        mine = key == self._key(key.task_id, key.initial_state)
        return mine and key.task_id in self._tasks and key.initial_state in self._scenes

    def _key(self, task_id: int, scene: int) -> EpisodeKey:
        return EpisodeKey(self._suite, task_id, scene, self._seed)
