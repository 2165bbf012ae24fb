"""An evaluation: runs the episodes that a folder lacks, each stored as it ends."""

import datetime
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mist_jax.errors import UserError
from mist_jax.evaluation.results import EpisodeResult, result_of
from mist_jax.evaluation.results_file import ResultsFile
from mist_jax.evaluation.run_setup import RunSetup
from mist_jax.progress import progress_bar
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.record.observation import AGENT_CAMERA
from mist_jax.rollout.batcher import Batcher
from mist_jax.rollout.collection import VideoChoice, wants_video
from mist_jax.rollout.driver import run_episodes
from mist_jax.rollout.episode_spec import EpisodeSpec
from mist_jax.rollout.fleet import Fleet
from mist_jax.rollout.video import write_video

# So many crashes one after the other are no accident.
_CRASHES_IN_A_ROW = 8


@dataclass(frozen=True)
class EvaluationPlan:
    """What is to be run: `n_episodes` per task and arm, the same for every arm.

    The i-th episode of a task begins in the i-th of `initial_states`; when they are used up, they
    come again with the next seed. `trained_on` holds the scenes, as "suite/task/state" or
    "suite/task", that the risk head has seen. Videos are drawn of episodes that begin in one of
    `video_states`.
    """

    directory: Path
    setup: RunSetup
    suite: str
    task_ids: tuple[int, ...]
    initial_states: tuple[int, ...]
    n_episodes: int
    seed: int
    arms: tuple[str, ...]
    trained_on: Collection[str] | None = None
    video: VideoChoice = "none"
    video_states: tuple[int, ...] = ()
    resume: bool = True

    def keys(self) -> Iterator[EpisodeKey]:
        """Every episode, the arms of a pair next to each other."""
        states = self.initial_states
        for index in range(self.n_episodes):
            for task_id in self.task_ids:
                seed, state = self.seed + index // len(states), states[index % len(states)]
                for arm in self.arms:
                    yield EpisodeKey(self.suite, task_id, state, seed, arm)

    def spec(self, key: EpisodeKey) -> EpisodeSpec:
        """The order for one episode; a video needs every step's picture."""
        films = self.video != "none" and key.initial_state in self.video_states
        return EpisodeSpec(key, images="step" if films else "none")

    def seen_in_training(self, key: EpisodeKey) -> bool | None:
        """Whether the risk head was trained on the episode's scene; None without a head."""
        if self.trained_on is None:
            return None
        task = f"{key.suite}/{key.task_id}"
        return task in self.trained_on or f"{task}/{key.initial_state}" in self.trained_on


@dataclass
class _Tally:
    """What the progress bar says of each arm."""

    ended: Counter[str] = field(default_factory=Counter)
    safe: Counter[str] = field(default_factory=Counter)
    crashed: int = 0

    def add(self, result: EpisodeResult) -> None:
        if result.crashed:
            self.crashed += 1
            return
        self.ended[result.arm] += 1
        self.safe[result.arm] += result.safe_success

    def __str__(self) -> str:
        arms = [f"{arm} {self.safe[arm]}/{count}" for arm, count in sorted(self.ended.items())]
        crashed = [f"{self.crashed} crashed"] if self.crashed else []
        return ", ".join(["safe: " + " ".join(arms)] * bool(arms) + crashed)


def evaluate(
    plan: EvaluationPlan, start_fleet: Callable[[], Fleet], batcher: Batcher
) -> list[EpisodeResult]:
    """Runs what `plan.directory` lacks and returns all of its results.

    Stopped at any moment, the same call goes on. Results of other tasks, states or arms with the
    same setup stay and are returned too.

    Args:
        plan: what to run.
        start_fleet: starts the workers; not called where nothing is missing.
        batcher: asks the policy, and knows the plan's arms.

    Raises:
        UserError: the folder holds results of another setup, the disk is full, or the simulator
            crashes in every episode.
    """
    with ResultsFile(plan.directory) as file:
        _check_continues(plan, file.results)
        done = {result.key for result in file.results}
        wanted = list(plan.keys())
        missing = [key for key in wanted if key not in done]
        if missing:
            _run(plan, file, missing, len(wanted), start_fleet, batcher)
        return file.results


def _check_continues(plan: EvaluationPlan, there: list[EpisodeResult]) -> None:
    if there and not plan.resume:
        raise UserError(
            f"{plan.directory} holds {len(there)} episodes; leave --noresume out to go on, or "
            "name another --output_dir"
        )
    for result in there:
        plan.setup.check_continues(result.setup, str(plan.directory))


def _run(
    plan: EvaluationPlan,
    file: ResultsFile,
    missing: list[EpisodeKey],
    wanted: int,
    start_fleet: Callable[[], Fleet],
    batcher: Batcher,
) -> None:
    tally, crashes = _Tally(), 0
    for result in file.results:
        tally.add(result)
    with progress_bar("evaluating", wanted, "episode") as bar, start_fleet() as fleet:
        bar.advance(wanted - len(missing), str(tally), resumed=True)
        for episode in run_episodes((plan.spec(key) for key in missing), fleet, batcher):
            result = _result(plan, episode)
            file.append(result)
            tally.add(result)
            crashes = crashes + 1 if result.crashed else 0
            if crashes == _CRASHES_IN_A_ROW:
                raise UserError(
                    f"the simulator crashed in {crashes} episodes in a row, the last with: "
                    f"{result.error}"
                )
            bar.advance(1, str(tally))


def _result(plan: EvaluationPlan, episode: Episode) -> EpisodeResult:
    key, video = episode.key, None
    filmed = len(episode.steps) and AGENT_CAMERA in episode.steps.images
    if filmed and wants_video(plan.video, episode):
        name = f"{key.suite}_task{key.task_id}_state{key.initial_state}_seed{key.seed}_{key.arm}"
        video = f"videos/{name}.mp4"
        write_video(plan.directory / video, episode)
    return result_of(
        episode,
        plan.setup,
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seen_in_training=plan.seen_in_training(key),
        video=video,
    )
