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
        states: drawn from those given; a half of the scenes learns from half as many.
        rate: how far a step turns a direction, in radians, and changes the logarithm of its length,
            at first; it falls to zero by a cosine.
    """

    size: float = 0.2
    penalty: float = 0.02
    steps: int = 24
    batch: int = 8
    states: int = 48
    rate: float = 0.1


@dataclass(frozen=True)
class LearnedPush:
    """`unit` float32 [L, D], norm 1 per layer; the coefficient it was learned at; its last loss.

    The loss is the mean over the last quarter of the steps.
    """

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

    Descent begins along the mean gradient of the wanted motion, at the length that would realise it
    were the policy linear.
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
        slopes.append(np.asarray(slope, np.float64))
    slope = np.mean(slopes, axis=0) * (np.asarray(goal.length) > 0)[:, None]
    norm = np.linalg.norm(slope, axis=-1, keepdims=True)
    length = np.asarray(goal.length)
    if not np.isfinite(norm).all() or (norm[length > 0] <= 0).any():
        return None
    rise = float((length * norm[:, 0]).sum())  # of the wanted motion, per unit of the amount
    unit = slope / np.where(norm > 0, norm, 1)
    push = CommonPush(
        jnp.asarray(
            unit * np.sqrt(unit.shape[-1]), jnp.float32
        ),  # coordinates of about 1, for Adam
        jnp.asarray(np.log(config.size / rise), jnp.float32),
    )
    solver = optax.adam(optax.cosine_decay_schedule(config.rate, config.steps))
    state = solver.init(push)  # type: ignore[arg-type]
    losses = []
    for rows in order:
        loss, gradient = loss_and_gradient(
            push, model, parameters, _rows(batch, rows), jnp.asarray(alone[rows]), goal
        )
        updates, state = solver.update(gradient, state)
        push = jax.tree.map(jnp.add, push, updates)
        losses.append(float(loss))
    last = float(np.mean(losses[-max(len(losses) // 4, 1) :]))
    if not np.isfinite(last):
        return None
    return LearnedPush(np.asarray(push.unit(), np.float32), float(push.amount), last)


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
