"""Learns a push common to many states by gradient descent on what it does to the action.

No label of harm is used: "x+" is what moves x backward. Adam (Kingma & Ba, arXiv 1412.6980).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS
from mist_jax.intervention.site import split_site
from mist_jax.intervention.tokens import role_mask
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs
from mist_jax.signed import DIMENSION, SIGN
from mist_jax.steering.learned.objective import (
    CommonPush,
    PushGoal,
    first_slope,
    loss_and_gradient,
)


@dataclass(frozen=True)
class LearningConfig:
    """How a push is learned.

    Attributes:
        size: the change of the executed action that it is learned for, units a control step.
        penalty: what a push as long as the activations costs, beside the missed share of `size`.
        steps: of gradient descent.
        batch: states in each.
        rate: Adam's, for directions of norm 1; it falls to zero by a cosine.
    """

    size: float = 0.2
    penalty: float = 0.02
    steps: int = 24
    batch: int = 8
    rate: float = 0.02


@dataclass(frozen=True)
class LearnedPush:
    """`unit` float32 [L, D], norm 1 per layer; the coefficient it was learned at; its last loss."""

    unit: np.ndarray
    amount: float
    loss: float


def goal_against(
    motion: str, policy: Policy, length: np.ndarray, site: str, config: LearningConfig
) -> PushGoal:
    """The goal of a push away from the harm of `motion`: "x+" is wanted to move x backward."""
    wanted = np.zeros(len(ACTION_DIMENSIONS), np.float32)
    place = SIGNED_MOTIONS.index(motion)
    wanted[DIMENSION[place]] = -SIGN[place] * config.size
    where, role = split_site(site)
    return PushGoal(
        wanted=jnp.asarray(wanted),
        executed_slope=jnp.asarray(policy.preprocessor.executed_slope, jnp.float32),
        length=jnp.asarray(length, jnp.float32),
        penalty=jnp.asarray(config.penalty, jnp.float32),
        tokens=role_mask((role,)),
        site=where,
    )


def learn_push(
    policy: Policy,
    inputs: Sequence[PolicyInputs],
    goal: PushGoal,
    config: LearningConfig,
    seed: int,
) -> LearnedPush | None:
    """The push for `goal` over the states `inputs`; None where the action does not depend on it.

    Descent begins along the mean gradient of the wanted motion, at the length that would realise
    half of it were the policy linear.
    """
    batch = policy.model.collate(inputs, list(range(len(inputs))))
    rng, count = np.random.default_rng(seed), min(config.batch, len(inputs))
    order = _order(len(inputs), count, config.steps, rng)
    model, parameters = policy.model, policy.parameters
    zero = jnp.zeros((len(goal.length), policy.sites[goal.site].width), jnp.float32)
    alone = np.zeros((len(inputs), model.action_dim), np.float32)
    slopes = []
    for rows in _once(len(inputs), count):
        alone[rows], slope = first_slope(model, parameters, _rows(batch, rows), zero, goal)
        slopes.append(slope)
    slope = jnp.mean(jnp.stack(slopes), axis=0) * (goal.length > 0)[:, None]
    norm = jnp.linalg.norm(slope, axis=-1)
    if not np.isfinite(norm).all() or (np.asarray(norm)[np.asarray(goal.length) > 0] <= 0).any():
        return None
    start = CommonPush(slope, jnp.zeros(()))
    rise = float((goal.length * norm).sum())  # of the wanted motion, per unit of the amount
    push = CommonPush(start.unit(), 0.5 * jnp.linalg.norm(goal.wanted) / rise)
    # an amount's own scale: a step of Adam is a step of `rate` in the direction, of its like here
    solver = optax.multi_transform(
        {
            "direction": optax.adam(optax.cosine_decay_schedule(config.rate, config.steps)),
            "amount": optax.adam(
                optax.cosine_decay_schedule(10 * config.rate * float(push.amount), config.steps)
            ),
        },
        CommonPush("direction", "amount"),  # type: ignore[arg-type]
    )
    state = solver.init(push)
    loss = np.nan
    for rows in order:
        value, gradient = loss_and_gradient(
            push, model, parameters, _rows(batch, rows), jnp.asarray(alone[rows]), goal
        )
        updates, state = solver.update(gradient, state, push)
        push = optax.apply_updates(push, updates)
        push = CommonPush(push.unit(), push.amount)
        loss = float(value)
    if not np.isfinite(loss):
        return None
    return LearnedPush(np.asarray(push.unit(), np.float32), float(push.amount), loss)


def _order(states: int, count: int, steps: int, rng: np.random.Generator) -> np.ndarray:
    """int [steps, count]: every state as often as every other, in a drawn order."""
    rounds = -(-steps * count // states)
    drawn = np.concatenate([rng.permutation(states) for _ in range(rounds)])
    return drawn[: steps * count].reshape(steps, count)


def _once(states: int, count: int) -> list[np.ndarray]:
    """Batches of `count` that go over all states; the last one begins again from the first."""
    return [np.arange(first, first + count) % states for first in range(0, states, count)]


def _rows(batch, rows: np.ndarray):
    return jax.tree.map(lambda leaf: leaf[rows], batch)
