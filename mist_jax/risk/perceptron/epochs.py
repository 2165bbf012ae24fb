"""The compiled part of training: a block of epochs of many heads, vectorised over all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mist_jax.axes import Array, Float, Int
from mist_jax.intervention.forecast.risk_trunk import TRUNKS, Weights
from mist_jax.risk.perceptron.loss import hazard_loss
from mist_jax.risk.plan import TrainConfig

MIX = "mixture"  # the weights' name for the logits of the layers


@dataclass(frozen=True)
class Learner:
    """What kind of head, and how it learns. Static: one compilation each."""

    kind: str
    remembers: bool
    config: TrainConfig


class TrainState(NamedTuple):
    """One head in the making, and the best it has been on its select rows."""

    weights: Weights
    moments: optax.OptState
    best: Weights
    best_loss: Float[Array, ""]
    best_epoch: Int[Array, ""]


class TrainTable(NamedTuple):
    """The same for every head: labels, where each query's predecessor stands, the padding."""

    event: Array  # bool [Q, W, M]
    at_risk: Array
    previous: Array  # int32 [Q], itself at an episode's first
    rows: Array  # int32 [sequences, Q]
    here: Array


class FoldRows(NamedTuple):
    """One member's own: numbers of padded rows in blocks, presence, and its class weights."""

    order: Array  # int32 [epochs, blocks, batch]
    present: Array
    select: Array  # int32 [blocks, batch]
    select_present: Array
    class_weight: Array  # float32 [2, M]


@lru_cache(maxsize=16)
def compiled(learner: Learner, site_of: tuple[int, ...], steps: int) -> Any:
    """A block of epochs for choices x members x trials; `site_of` names each feature's site.

    Gives (state, data, mean, scale, table, fold, key, noise, epochs) -> state [C, K, S, ...].
    """
    config, trunk = learner.config, TRUNKS[learner.kind]
    optimiser = optimiser_of(config, steps)
    noisy = any(noise for noise, _ in config.trials)

    def features(weights: Weights, x: Array, mean: Array, scale: Array) -> Array:
        normal = (x.astype(jnp.float32) - mean) / scale
        if MIX not in weights:
            return normal[..., 0, :]
        mixture = jax.nn.softmax(weights[MIX], axis=-1)[jnp.asarray(site_of)]  # [D, L]
        return jnp.einsum("...ld,dl->...d", normal, mixture)

    def hazards(weights, x, mean, scale, table, rows, noise, signs):
        u = features(weights, x[rows], mean, scale)
        if learner.remembers:
            since = u - features(weights, x[table.previous[rows]], mean, scale)
            u = jnp.concatenate([u, since], axis=-1)
        if signs is not None:
            u = u + noise * signs
        return trunk.unroll({k: v for k, v in weights.items() if k != MIX}, u)

    def loss(weights, x, mean, scale, table, block, class_weight, noise, signs):
        numbers, present = block
        rows, here = table.rows[numbers], table.here[numbers] & present[:, None]
        hazard = hazards(weights, x, mean, scale, table, rows, noise, signs)
        at_risk = table.at_risk[rows] & here[..., None, None]
        cost = hazard_loss(hazard, table.event[rows], at_risk, class_weight)
        return cost.sum(), at_risk.any(axis=(-2, -1)).sum()

    def mean_loss(weights, *rest):
        total, count = loss(weights, *rest)
        return total / jnp.maximum(count, 1)

    def epoch(state: TrainState, x, mean, scale, table, fold, key, noise, number, trained):

        def step(carry, block):
            weights, moment, count = carry
            signs = None
            if noisy:  # signs have the covariance of normal noise and cost a tenth of it
                seed = jax.random.fold_in(jax.random.fold_in(key, number), count)
                inputs = x.shape[-1] * (1 + learner.remembers)
                shape = (block[0].shape[0], table.rows.shape[1], inputs)
                signs = jax.random.rademacher(seed, shape, jnp.float32)
            gradient = jax.grad(mean_loss)(
                weights, x, mean, scale, table, block, fold.class_weight, noise, signs
            )
            updates, moment = optimiser.update(gradient, moment, weights)
            weights = jax.tree.map(jnp.add, weights, updates)
            return (weights, moment, count + 1), None

        start = (state.weights, state.moments, 0)
        (weights, moment, _), _ = jax.lax.scan(step, start, tuple(trained))

        def add(so_far, block):
            total, count = loss(
                weights, x, mean, scale, table, block, fold.class_weight, noise, None
            )
            return (so_far[0] + total, so_far[1] + count), None

        zero = (jnp.float32(0), jnp.int32(0))
        (total, count), _ = jax.lax.scan(add, zero, (fold.select, fold.select_present))
        found = jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.inf)
        # Without rows to select on, the last epoch is the one to keep.
        better = jnp.where(count > 0, found < state.best_loss, number == config.epochs - 1)
        best = jax.tree.map(partial(jnp.where, better), weights, state.best)
        return TrainState(
            weights,
            moment,
            best,
            jnp.where(better, found, state.best_loss),
            jnp.where(better, number + 1, state.best_epoch),
        )

    def train(state, x, mean, scale, table, fold, key, noise, epochs):
        def body(state, this):
            number, *trained = this
            return epoch(state, x, mean, scale, table, fold, key, noise, number, trained), None

        return jax.lax.scan(body, state, (epochs, fold.order, fold.present))[0]

    #            state, data, mean, scale, table, fold, key, noise, epochs
    per_trial = (0, None, None, None, None, None, None, 0, None)
    per_member = (0, None, 0, 0, None, 0, None, None, None)
    per_choice = (0, 0, 0, 0, None, None, None, None, None)
    for axes in (per_trial, per_member, per_choice):
        train = jax.vmap(train, in_axes=axes)
    return jax.jit(train, donate_argnums=0)


def optimiser_of(config: TrainConfig, steps: int) -> optax.GradientTransformation:
    """AdamW under a cosine schedule of `steps` steps; only kernels decay."""

    def kernels(weights: Weights) -> dict[str, bool]:
        return {name: name.endswith("kernel") for name in weights}

    rate = optax.cosine_decay_schedule(config.learning_rate, steps, alpha=0.05)
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(rate, weight_decay=config.weight_decay, mask=kernels),
    )


def fresh_weights(
    learner: Learner, width: int, mixture: tuple[int, int], labels: tuple[int, ...], key: Array
) -> Weights:
    """One head's weights; a mixture [site, L] of several layers starts even."""
    windows, motions = labels
    weights = TRUNKS[learner.kind].initial(
        key,
        inputs=width * (1 + learner.remembers),
        hidden=learner.config.hidden,
        windows=windows,
        motions=motions,
    )
    return weights if mixture[1] == 1 else {**weights, MIX: jnp.zeros(mixture)}


def fresh_states(
    learner: Learner,
    data: tuple[int, ...],
    sites: int,
    members: Sequence[int],
    labels: tuple[int, ...],
) -> TrainState:
    """Fresh states [C, K, S]. Choices start alike: what differs between them is what they know."""
    choices, _, layers, width = data
    root = jax.random.key(learner.config.seed)
    fresh = partial(fresh_weights, learner, width, (sites, layers), labels)
    optimiser = optimiser_of(learner.config, 1)

    def start(member: Array, seed: Array) -> TrainState:
        weights = fresh(jax.random.fold_in(jax.random.fold_in(root, member), seed))
        best = jax.tree.map(jnp.copy, weights)  # given away with the state: not one array twice
        return TrainState(
            weights, optimiser.init(weights), best, jnp.float32(jnp.inf), jnp.int32(0)
        )

    every = jax.vmap(jax.vmap(start, in_axes=(None, 0)), in_axes=(0, None))
    seeds = jnp.asarray([seed for _, seed in learner.config.trials])

    def repeated(leaf: Array) -> Array:
        return jnp.broadcast_to(leaf, (choices, *leaf.shape))

    numbers = jnp.asarray(members)
    return jax.jit(lambda: jax.tree.map(repeated, every(numbers, seeds)))()
