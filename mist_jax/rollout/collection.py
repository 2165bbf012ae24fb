"""A collection: runs the missing episodes, stores each as it ends, and draws the videos."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from mist_jax.progress import progress_bar
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.rollout.attempts import Attempts, Quotas
from mist_jax.rollout.batcher import Batcher
from mist_jax.rollout.driver import run_episodes
from mist_jax.rollout.episode_spec import Actor, EpisodeSpec
from mist_jax.rollout.fleet import Fleet
from mist_jax.rollout.recording import thin_images
from mist_jax.rollout.video import write_video
from mist_jax.simulator.environment.perturbation import PerturbationSpec

VideoChoice = Literal["none", "all", "success", "failure", "harmful"]
VIDEO_CHOICES: tuple[str, ...] = get_args(VideoChoice)
# So many crashes one after the other are no accident.
_CRASHES_IN_A_ROW = 8


@dataclass(frozen=True)
class CollectionPlan:
    """What is to be collected: `info` describes the dataset, the rest which episodes."""

    directory: Path
    info: DatasetInfo
    suite: str
    task_ids: tuple[int, ...]
    initial_states: tuple[int, ...]
    seed: int
    quotas: Quotas
    actor: Actor = "policy"
    perturbation: PerturbationSpec | None = None
    video: VideoChoice = "none"

    def spec(self, key: EpisodeKey) -> EpisodeSpec:
        """The order for one episode; videos need every step's picture, whatever is kept."""
        images = self.info.images if self.video == "none" else "step"
        return EpisodeSpec(key, self.actor, self.perturbation, images)


def collect(
    plan: CollectionPlan, start_fleet: Callable[[], Fleet], batcher: Batcher | None
) -> None:
    """Runs what `plan.directory` lacks; stopped at any moment, the same call goes on.

    Args:
        plan: what to collect.
        start_fleet: starts the workers; not called where nothing is missing.
        batcher: asks the policy; None where the expert acts.

    Raises:
        UserError: the folder holds another collection, the disk is full, or the simulator
            crashes in every episode.
    """
    attempts = Attempts(
        plan.suite, plan.task_ids, plan.initial_states, plan.seed, plan.quotas, plan.spec
    )
    with EpisodeWriter(plan.directory, plan.info) as writer:
        for entry in writer.entries:
            attempts.recall(entry.key, entry.outcome)
        if not attempts.missing:
            return
        crashes = 0
        with (
            progress_bar("collecting", attempts.missing, "episode") as bar,
            start_fleet() as fleet,
        ):
            for episode in run_episodes(attempts, fleet, batcher):
                before = attempts.missing
                surplus = attempts.settle(episode)
                _store(plan, writer, dataclasses.replace(episode, surplus=surplus))
                crashes = crashes + 1 if episode.outcome == "crashed" else 0
                if crashes == _CRASHES_IN_A_ROW:
                    raise UserError(
                        f"the simulator crashed in {crashes} episodes in a row, the last with: "
                        f"{episode.error}"
                    )
                bar.advance(before - attempts.missing, _figures(attempts, fleet))


def _store(plan: CollectionPlan, writer: EpisodeWriter, episode: Episode) -> None:
    if len(episode.steps) and wants_video(plan.video, episode):
        key = episode.key
        name = f"{key.suite}_task{key.task_id}_state{key.initial_state}_seed{key.seed}.mp4"
        write_video(plan.directory / "videos" / name, episode)
    steps = thin_images(episode.steps, plan.info.images, plan.info.chunk)
    writer.append(dataclasses.replace(episode, steps=steps))


def wants_video(choice: VideoChoice, episode: Episode) -> bool:
    """Whether a video of the episode was asked for."""
    if choice == "harmful":
        return bool(episode.harmful_onsets)
    return choice in ("all", episode.outcome)


def _figures(attempts: Attempts, fleet: Fleet) -> str:
    outcomes = attempts.outcomes
    text = ", ".join(
        f"{outcomes[name]} {name}" for name in ("success", "failure", "crashed") if outcomes[name]
    )
    return text + (f", {fleet.replaced} workers replaced" if fleet.replaced else "")
