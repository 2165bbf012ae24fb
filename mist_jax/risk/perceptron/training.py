"""Fits many risk heads at once: every layer, fold, regulariser and seed in one compiled loop.

AdamW on the sigmoid cross-entropy of each dimension, rare dimensions weighted up. The normaliser
comes from the training rows alone. A head keeps the epoch that was best on its validation rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mist_jax.axes import Array, Float, Int
from mist_jax.intervention.risk_head import RiskHead, risk_logits
from mist_jax.risk.plan import TrainConfig
from mist_jax.risk.splits import Rows

FITTED = ("hidden_kernel", "hidden_bias", "output_kernel", "output_bias")
EPOCHS_PER_CALL = 10


@dataclass(frozen=True)
class Fitted:
    """Heads of every layer L, member K and trial S: leaves of `heads` start with [L, K, S]."""

    heads: RiskHead
    validation_loss: np.ndarray  # float32 [L, K, S], at the epoch kept
    best_epoch: np.ndarray  # int [L, K, S], epochs trained to get it
    history: np.ndarray  # float32 [L, K, S, epochs], nan after the stop


class _State(NamedTuple):
    weights: dict[str, Array]
    moments: optax.OptState
    best: dict[str, Array]
    best_loss: Float[Array, ""]
    best_epoch: Int[Array, ""]


def fit_heads(
    features: np.ndarray,
    labels: np.ndarray,
    members: Sequence[Rows],
    layers: Sequence[int],
    config: TrainConfig,
    progress: Callable[[int], None] = lambda epochs: None,
) -> Fitted:
    """Fits a head to each layer of `features` [Q, L, D] for each of `members`.

    `labels` is bool [Q, A]; `layers` names the layers in the heads. `progress` is told how many
    more epochs are over. Dimensions without a positive in a member's training rows carry no loss.
    """
    stacked = jnp.asarray(np.moveaxis(features, 1, 0))
    target = jnp.asarray(labels, jnp.float32)
    train = [np.flatnonzero(rows.train) for rows in members]
    validation = jnp.asarray(np.stack([rows.validation for rows in members]), jnp.float32)
    batch = min(config.batch, max(len(rows) for rows in train))
    weight = jnp.asarray(
        np.stack([_class_weight(labels[rows], config.max_class_weight) for rows in train])
    )
    noise = jnp.asarray([noise for noise, _ in config.trials], jnp.float32)
    heads, state = _start(features, train, layers, config)
    run = _compiled(batch, config)
    shape = (len(layers), len(members), len(config.trials), config.epochs)
    history = np.full(shape, np.nan, np.float32)
    rng = np.random.default_rng(config.seed)
    key = jax.random.key(config.seed)
    for start in range(0, config.epochs, EPOCHS_PER_CALL):
        count = min(EPOCHS_PER_CALL, config.epochs - start)
        epochs = jnp.arange(start, start + count)
        rows, present = _shuffled(train, batch, count, rng)
        state, losses = run(
            state, heads, stacked, target, rows, present, validation, weight, key, noise, epochs
        )
        history[..., start : start + count] = np.asarray(losses)
        progress(count)
        waited = start + count - np.asarray(state.best_epoch)
        if validation.any() and (waited > config.patience).all():
            break
    return Fitted(
        heads=jax.device_get(replace(heads, **state.best)),
        validation_loss=np.asarray(state.best_loss),
        best_epoch=np.asarray(state.best_epoch),
        history=history,
    )


def head_logits(heads: RiskHead, features: np.ndarray) -> np.ndarray:
    """Uncalibrated logits [L, K, Q, A] of heads [L, K] on `features` [Q, L, D]."""
    return np.asarray(_logits(heads, jnp.asarray(np.moveaxis(features, 1, 0))))


_logits = jax.jit(jax.vmap(jax.vmap(risk_logits, in_axes=(0, None))))


def _shuffled(
    train: Sequence[np.ndarray], batch: int, epochs: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Row indices [K, epochs, batches, batch] in fresh order, and 1/0 presence (padding is 0)."""
    batches = -(-max(len(rows) for rows in train) // batch)
    order = np.zeros((len(train), epochs, batches * batch), np.int32)
    present = np.zeros(order.shape, np.float32)
    for member, rows in enumerate(train):
        # Presence is shuffled along, so that every batch of a small member holds some of its rows.
        padded = np.zeros(batches * batch, np.int32)
        padded[: len(rows)] = rows
        for epoch in range(epochs):
            shuffled = rng.permutation(batches * batch)
            order[member, epoch] = padded[shuffled]
            present[member, epoch] = shuffled < len(rows)
    shape = (len(train), epochs, batches, batch)
    return order.reshape(shape), present.reshape(shape)


def _class_weight(labels: np.ndarray, most: float) -> np.ndarray:
    """Float32 [2, A]: the weight of a negative and of a positive; zeros where one class is absent.

    Scaled so that the mean weight of a row is 1, whatever the base rate.
    """
    positive = labels.mean(axis=0)
    up = np.clip((1 - positive) / np.maximum(positive, 1e-9), 1.0, most)
    both = np.stack([np.ones_like(up), up]) / (1 - positive + positive * up)
    return np.where((positive > 0) & (positive < 1), both, 0.0).astype(np.float32)


def _start(
    features: np.ndarray,
    train: Sequence[np.ndarray],
    layers: Sequence[int],
    config: TrainConfig,
) -> tuple[RiskHead, _State]:
    """Fresh heads and states [L, K, S], with the normaliser of each member's training rows."""
    width, shape = features.shape[-1], (len(layers), len(train), len(config.trials))
    normalisers = [
        [normaliser(features[rows, layer]) for rows in train] for layer in range(len(layers))
    ]
    mean, scale = np.moveaxis(np.asarray(normalisers), 2, 0)
    root, optimiser = jax.random.key(config.seed), _optimiser(config)

    def start(member: Array, seed: Array) -> tuple[RiskHead, _State]:
        key = jax.random.fold_in(jax.random.fold_in(root, member), seed)
        head = RiskHead.initial(key, width=width, hidden=config.hidden, layer=0)
        weights = {name: getattr(head, name) for name in FITTED}
        moments = optimiser.init(weights)
        return head, _State(weights, moments, weights, jnp.float32(jnp.inf), jnp.int32(0))

    every = jax.vmap(jax.vmap(start, in_axes=(None, 0)), in_axes=(0, None))
    seeds = jnp.asarray([seed for _, seed in config.trials])
    # Layers start alike: what differs between them is what they know.
    heads, state = jax.jit(
        lambda: jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (len(layers), *leaf.shape)),
            every(jnp.arange(len(train)), seeds),
        )
    )()
    numbers = np.broadcast_to(np.asarray(layers, np.int32)[:, None, None], shape)
    return replace(
        heads,
        mean=np.broadcast_to(mean[:, :, None], (*shape, width)),
        scale=np.broadcast_to(scale[:, :, None], (*shape, width)),
        layer=numbers,
    ), state


def normaliser(rows: np.ndarray) -> np.ndarray:
    """Mean and scale [2, D], float32; a nearly constant feature is not blown up."""
    rows = rows.astype(np.float64)
    scale = rows.std(axis=0)
    floor = 1e-2 * np.median(scale) if np.median(scale) > 0 else scale.max()
    return np.stack([rows.mean(axis=0), np.maximum(scale, floor or 1.0)]).astype(np.float32)


def _optimiser(config: TrainConfig) -> optax.GradientTransformation:
    def kernels(weights: dict[str, Array]) -> dict[str, bool]:
        return {name: name.endswith("kernel") for name in weights}

    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(config.learning_rate, weight_decay=config.weight_decay, mask=kernels),
    )


@lru_cache(maxsize=16)
def _compiled(batch: int, config: TrainConfig):
    """The train loop over a block of epochs, for all layers, members and trials."""
    optimiser = _optimiser(config)

    def loss(weights, head, x, y, row_weight, class_weight):
        entropy = optax.sigmoid_binary_cross_entropy(risk_logits(replace(head, **weights), x), y)
        cost = entropy * jnp.where(y > 0, class_weight[1], class_weight[0])
        return (cost.sum(-1) * row_weight).sum() / jnp.maximum(row_weight.sum(), 1.0)

    def train_epoch(state, head, data, rows, validation, class_weight, key, noise, epoch):
        x, y = data

        def step(carry, batch_of):
            weights, moments, count = carry
            at, here = batch_of
            # Signs have the covariance of normal noise and cost a tenth of it.
            seed = jax.random.fold_in(jax.random.fold_in(key, epoch), count)
            signs = jax.random.rademacher(seed, (batch, x.shape[-1]), x.dtype)
            seen = x[at] + noise * head.scale * signs
            gradient = jax.grad(loss)(weights, head, seen, y[at], here, class_weight)
            updates, moments = optimiser.update(gradient, moments, weights)
            return (optax.apply_updates(weights, updates), moments, count + 1), None

        (weights, moments, _), _ = jax.lax.scan(step, (state.weights, state.moments, 0), rows)
        validated = loss(weights, head, x, y, validation, class_weight)
        # Without validation rows the last epoch is the one to keep.
        last = epoch == config.epochs - 1
        better = jnp.where(validation.any(), validated < state.best_loss, last)

        def keep(new, old):
            return jnp.where(better, new, old)

        best = jax.tree.map(keep, weights, state.best)
        best_loss, best_epoch = keep(validated, state.best_loss), keep(epoch + 1, state.best_epoch)
        return _State(weights, moments, best, best_loss, best_epoch), validated

    def train(state, head, x, y, order, present, validation, class_weight, key, noise, epochs):
        def body(carry, this):
            order, present, epoch = this
            return train_epoch(
                carry, head, (x, y), (order, present), validation, class_weight, key, noise, epoch
            )

        return jax.lax.scan(body, state, (order, present, epochs))

    #            state, head, x, y, order, present, validation, class weight, key, noise, epochs
    per_trial = (0, 0, None, None, None, None, None, None, None, 0, None)
    per_member = (0, 0, None, None, 0, 0, 0, 0, None, None, None)
    per_layer = (0, 0, 0, None, None, None, None, None, None, None, None)
    for axes in (per_trial, per_member, per_layer):
        train = jax.vmap(train, in_axes=axes)
    return jax.jit(train)
