"""A collection: episodes of a policy or of the expert, until the quotas are met."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.record.episode import OUTCOMES, EpisodeKey
from mist_jax.rollout.actor import Actor
from mist_jax.rollout.attempts import Attempts, Quotas
from mist_jax.rollout.episode_spec import Acting, EpisodeSpec
from mist_jax.rollout.fill import fill_dataset
from mist_jax.rollout.fleet import Fleet
from mist_jax.rollout.sinks.video import VideoChoice
from mist_jax.simulator.environment.perturbation import PerturbationSpec


@dataclass(frozen=True)
class CollectionPlan:
    """What is to be collected: `info` describes the dataset, the rest which episodes.

    `initial_states` are those of each task, by task id. With `label` the expert says at every query
    what it would do there.
    """

    directory: Path
    info: DatasetInfo
    suite: str
    initial_states: Mapping[int, tuple[int, ...]]
    seed: int
    quotas: Quotas
    acting: Acting = "policy"
    perturbation: PerturbationSpec | None = None
    video: VideoChoice = "none"
    label: bool = False

    def spec(self, key: EpisodeKey) -> EpisodeSpec:
        """The order for one episode; videos need every step's picture, whatever is kept."""
        images = self.info.images if self.video == "none" else "step"
        return EpisodeSpec(key, self.acting, self.perturbation, images, self.label)


@dataclass
class OutcomeTally:
    """How the episodes ended."""

    outcomes: Counter[str] = field(default_factory=Counter)

    def count(self, key: EpisodeKey, outcome: str, *, harmful: bool) -> None:
        """Counts one."""
        self.outcomes[outcome] += 1

    def __str__(self) -> str:
        return ", ".join(
            f"{self.outcomes[name]} {name}" for name in OUTCOMES if self.outcomes[name]
        )


def collect(plan: CollectionPlan, start_fleet: Callable[[], Fleet], actor: Actor) -> None:
    """Runs what `plan.directory` lacks; see `fill_dataset`."""
    fill_dataset(
        plan.directory,
        plan.info,
        Attempts(plan.suite, plan.initial_states, plan.seed, plan.quotas, plan.spec),
        start_fleet,
        actor,
        verb="collecting",
        tally=OutcomeTally(),
        video=plan.video,
    )
