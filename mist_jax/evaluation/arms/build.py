"""What a run builds of its arms: each with the run's numbers, and the arrays that all share."""

from collections.abc import Mapping, Sequence

import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.evaluation.arms.registry import find_arm
from mist_jax.evaluation.arms.rotation import rotated
from mist_jax.evaluation.arms.row import RunNumbers
from mist_jax.intervention.reader import RiskReader
from mist_jax.intervention.site import ModelSite
from mist_jax.rollout.arm import Arm, Controller
from mist_jax.steering.bank import SteeringBank

ROTATIONS = 8  # random counterparts of the bank; an episode's key picks one


def run_numbers(
    names: Sequence[str],
    *,
    alarm_threshold: np.ndarray,
    coefficient: float = 0.0,
    bank: SteeringBank | None = None,
    gate_rate: np.ndarray | None = None,
) -> RunNumbers:
    """What the named arms share, for the directions that `build_controller` lays out."""
    return RunNumbers(
        alarm_threshold=np.asarray(alarm_threshold, np.float32),
        coefficient=coefficient,
        bank=bank,
        gate_rate=np.zeros(len(SIGNED_MOTIONS)) if gate_rate is None else gate_rate,
        rotations=_rotations(names),
    )


def build_arms(names: Sequence[str], numbers: RunNumbers) -> dict[str, Arm]:
    """The named arms of a run with these numbers."""
    return {name: find_arm(name).make(name, numbers) for name in names}


def build_controller(
    names: Sequence[str],
    risk_head: RiskReader,
    *,
    sites: Mapping[str, ModelSite],
    bank: SteeringBank | None = None,
) -> Controller:
    """What all arms share: [V, L, D] holds the bank's directions, then each rotation of them.

    Without a bank there is one direction of zeros, at the first of the model's `sites` that can be
    steered.
    """
    if bank is None:
        name, site = next((name, site) for name, site in sites.items() if site.steerable)
        nothing = np.zeros((1, site.layers, site.width), np.float32)
        listens = np.ones((1, len(SIGNED_MOTIONS)), np.float32)
        return Controller(nothing, listens, risk_head, site=name)
    vectors, count = np.asarray(bank.vectors), _rotations(names)
    blocks = [vectors, *(rotated(vectors, seed) for seed in range(count))]
    gates = np.tile(np.asarray(bank.gates), (1 + count, 1))
    return Controller(np.concatenate(blocks), gates, risk_head, site=bank.metadata.site)


def _rotations(names: Sequence[str]) -> int:
    """How many random counterparts of the bank these arms draw from."""
    return ROTATIONS if any(find_arm(name).turned for name in names) else 0
