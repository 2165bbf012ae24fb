"""Measures what directions do to the executed action, each at the best scale it can be given."""

from collections.abc import Callable, Sequence

import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.intervention.operator import Operator
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs
from mist_jax.steering.causal.effects import (
    POSE_MOTIONS,
    SIZES,
    Effects,
    measure_effects,
    opposite,
)
from mist_jax.steering.proof import Proof

LARGEST = 1.0  # coefficient: the length of the activations; a conceptor's whole strength
ROUNDS = 3  # of finding a scale
_STEP = 5.0  # by which a round changes it at most
GRIPPER = "the gripper's effect is not measured: its action is open or closed"

OperatorOf = Callable[[np.ndarray], Operator]
"""An operator for coefficients float32 [B, V] of the directions, in the order of their names."""


def prove(
    policy: Policy,
    names: Sequence[str],
    operator_of: OperatorOf,
    scaled_on: Sequence[PolicyInputs],
    held_out: Sequence[PolicyInputs],
    *,
    sizes: Sequence[float] = SIZES,
    batch_size: int = 16,
) -> tuple[Proof, ...]:
    """A proof for each of the directions `names`, all different.

    Their scales are found on `scaled_on` at the middle size, their effects measured on `held_out`:
    states of other scenes. A scale whose coefficient at the largest size would be above 1 is cut
    there: what would need more than the activations' own length falls short.
    """
    posed = tuple(name for name in names if opposite(name) in POSE_MOTIONS)
    per_unit = dict.fromkeys(posed, LARGEST / max(sizes))
    if not posed:
        return tuple(Proof(unmeasured=GRIPPER) for _ in names)

    def measured(inputs: Sequence[PolicyInputs], at: Sequence[float]) -> Effects:
        def pushed(rows: np.ndarray, wanted: np.ndarray) -> Operator:
            return operator_of(_coefficients(names, wanted, per_unit))

        return measure_effects(
            policy, inputs, pushed, sizes=at, batch_size=batch_size,
            motions=[opposite(name) for name in posed],
        )  # fmt: skip

    middle = (sorted(sizes)[len(sizes) // 2],)
    for _ in range(ROUNDS):
        effects = measured(scaled_on, middle)
        for name in posed:
            slope = abs(effects.of(opposite(name)).slope[1])
            better = per_unit[name] / np.clip(slope, 1 / _STEP, _STEP)
            per_unit[name] = float(min(better, LARGEST / max(sizes)))
    effects = measured(held_out, sizes)
    return tuple(
        Proof(effects.of(opposite(name)), per_unit[name])
        if name in posed
        else Proof(unmeasured=GRIPPER)
        for name in names
    )


def _coefficients(
    names: Sequence[str], wanted: np.ndarray, per_unit: dict[str, float]
) -> np.ndarray:
    """Float32 [B, V]: what each direction must do for the one motion that a row wants."""
    found = np.zeros((len(wanted), len(names)), np.float32)
    for v, name in enumerate(names):
        if name in per_unit:
            dimension, forward = divmod(SIGNED_MOTIONS.index(opposite(name)), 2)
            along = wanted[:, dimension] * (1 - 2 * forward)
            found[:, v] = per_unit[name] * np.maximum(along, 0.0)
    return found
