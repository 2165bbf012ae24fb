"""An evaluation: all arms on the same episodes, stored as a dataset like a collection's."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.episodes.shards import load_shards
from mist_jax.errors import UserError
from mist_jax.evaluation.judge import judge
from mist_jax.evaluation.results import EpisodeResult
from mist_jax.output_folder import check_output
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.actor import Actor
from mist_jax.rollout.episode_spec import EpisodeSpec
from mist_jax.rollout.fill import fill_dataset
from mist_jax.rollout.fleet import Fleet
from mist_jax.rollout.sinks.video import VideoChoice
from mist_jax.rollout.source import Listed
from mist_jax.simulator.environment.perturbation import PerturbationSpec


@dataclass(frozen=True)
class EvaluationPlan:
    """What is to be run: `n_episodes` per task and arm, the same for every arm.

    `info` describes the dataset (`RunSetup.dataset_info`). `initial_states` are those of each task,
    by task id: its i-th episode begins in the i-th; when they are used up, they come again with the
    next seed. `perturbation` disturbs each, the arms of a pair alike. Videos are drawn of episodes
    that begin in one of `video_states`.
    """

    directory: Path
    info: DatasetInfo
    suite: str
    initial_states: Mapping[int, tuple[int, ...]]
    n_episodes: int
    seed: int
    arms: tuple[str, ...]
    perturbation: PerturbationSpec | None = None
    video: VideoChoice = "none"
    video_states: tuple[int, ...] = ()
    resume: bool = True

    def episodes(self) -> Iterator[EpisodeKey]:
        """Every episode, the arms of a pair next to each other."""
        for index in range(self.n_episodes):
            for task_id, states in self.initial_states.items():
                seed, state = self.seed + index // len(states), states[index % len(states)]
                for arm in self.arms:
                    yield EpisodeKey(self.suite, task_id, state, seed, arm)

    def spec(self, key: EpisodeKey) -> EpisodeSpec:
        """The order for one episode; a video needs every step's picture."""
        films = self.video != "none" and key.initial_state in self.video_states
        images = "step" if films else self.info.images
        return EpisodeSpec(key, perturbation=self.perturbation, images=images)


@dataclass
class ArmTally:
    """Safe successes of each arm, of the episodes that did not crash."""

    ended: Counter[str] = field(default_factory=Counter)
    safe: Counter[str] = field(default_factory=Counter)
    crashed: int = 0

    def count(self, key: EpisodeKey, outcome: str, *, harmful: bool) -> None:
        """Counts one."""
        if outcome == "crashed":
            self.crashed += 1
            return
        self.ended[key.arm] += 1
        self.safe[key.arm] += outcome == "success" and not harmful

    def __str__(self) -> str:
        arms = [f"{arm} {self.safe[arm]}/{count}" for arm, count in sorted(self.ended.items())]
        crashed = [f"{self.crashed} crashed"] if self.crashed else []
        return ", ".join(["safe: " + " ".join(arms)] * bool(arms) + crashed)


def evaluate(
    plan: EvaluationPlan, start_fleet: Callable[[], Fleet], actor: Actor
) -> list[EpisodeResult]:
    """Runs what `plan.directory` lacks and returns all of its results.

    Stopped at any moment, the same call goes on. Episodes of other tasks, states or arms with the
    same setup stay and are judged too.

    Args:
        plan: what to run.
        start_fleet: starts the workers; not called where nothing is missing.
        actor: asks the policy, and knows the plan's arms.

    Raises:
        UserError: the folder holds episodes of another setup, the disk is full, or the simulator
            crashes in every episode.
    """
    check_output(plan.directory, "evaluation")
    there = sum(load_shards(plan.directory))
    if there and not plan.resume:
        raise UserError(
            f"{plan.directory} holds {there} episodes; leave --noresume out to go on, or name "
            "another --output_dir"
        )
    fill_dataset(
        plan.directory,
        plan.info,
        Listed(plan.spec(key) for key in plan.episodes()),
        start_fleet,
        actor,
        verb="evaluating",
        tally=ArmTally(),
        video=plan.video,
    )
    return judge(plan.directory)
