"""A collection of branches: every offset at every fork, each run to its end."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mist_jax.counterfactual.branch import branches_of
from mist_jax.counterfactual.branching_actor import BranchingActor
from mist_jax.counterfactual.forks import Fork
from mist_jax.counterfactual.offsets import OffsetSet
from mist_jax.counterfactual.source import BranchSource
from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.rollout.acting.policy_actor import PolicyActor
from mist_jax.rollout.collection import OutcomeTally
from mist_jax.rollout.fill import fill_dataset
from mist_jax.rollout.fleet import Fleet
from mist_jax.simulator.environment.perturbation import PerturbationSpec


@dataclass(frozen=True)
class BranchPlan:
    """What is to be run: `info` describes the dataset, `perturbation` what the forked episodes met
    (which the branches meet as well).
    """

    directory: Path
    info: DatasetInfo
    forks: tuple[Fork, ...]
    offsets: OffsetSet
    perturbation: PerturbationSpec | None = None


def collect_branches(
    plan: BranchPlan, start_fleet: Callable[[], Fleet], actor: PolicyActor
) -> None:
    """Runs what `plan.directory` lacks; see `fill_dataset`."""
    branches = tuple(branches_of(plan.forks, plan.offsets))
    fill_dataset(
        plan.directory,
        plan.info,
        BranchSource(branches, plan.perturbation, plan.info.images),
        start_fleet,
        BranchingActor(actor, {one.key: one for one in branches}, plan.offsets.queries),
        verb="branching",
        tally=OutcomeTally(),
    )
