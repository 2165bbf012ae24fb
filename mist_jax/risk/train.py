"""Fits many risk heads at once: every layer, fold, regulariser and seed in one compiled loop.

AdamW on the sigmoid cross-entropy of each dimension, rare dimensions weighted up. The normaliser
comes from the training rows alone. A head keeps the epoch that was best on its validation rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mist_jax.axes import Array, Float, Int
from mist_jax.risk.head import RiskHead, risk_logits

FITTED = ("hidden_kernel", "hidden_bias", "output_kernel", "output_bias")
EPOCHS_PER_CALL = 10


@dataclass(frozen=True)
class TrainConfig:
    """How a head is fitted; `patience` counts epochs without a better validation loss.

    `input_noise` lists strengths of Gaussian noise on the normalised input, the regulariser that
    mattered on few samples of wide activations; each is tried with each of `seeds` seeds.
    """

    epochs: int = 100
    hidden: int = 64
    learning_rate: float = 5e-4
    weight_decay: float = 3.0
    input_noise: tuple[float, ...] = (0.0, 1.0)
    batch: int = 256
    patience: int = 15
    max_class_weight: float = 20.0
    seeds: int = 1
    seed: int = 0

    @property
    def trials(self) -> tuple[tuple[float, int], ...]:
        """(input noise, seed) of each trial S."""
        return tuple((noise, s) for noise in self.input_noise for s in range(self.seeds))


@dataclass(frozen=True)
class Rows:
    """Which rows one member trains on and is stopped by; no validation rows: it runs to the end."""

    train: np.ndarray  # bool [Q]
    validation: np.ndarray  # bool [Q]


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

    `labels` is bool [Q, A]; `layers` names the layers in the heads. `progress` is told the number
    of epochs done. Dimensions without a positive in a member's training rows carry no loss.
    """
    stacked = jnp.asarray(np.moveaxis(features, 1, 0))
    target = jnp.asarray(labels, jnp.float32)
    train = [np.flatnonzero(rows.train) for rows in members]
    validation = jnp.asarray(np.stack([rows.validation for rows in members]), jnp.float32)
    batch = min(config.batch, max(len(rows) for rows in train))
    order, present = _padded(train, batch)
    weight = jnp.asarray(
        np.stack([_class_weight(labels[rows], config.max_class_weight) for rows in train])
    )
    noise = jnp.asarray([noise for noise, _ in config.trials], jnp.float32)
    seeds = jnp.asarray([seed for _, seed in config.trials])
    root = jax.random.split(jax.random.key(config.seed), len(members))
    keys = jax.vmap(lambda key: jax.vmap(partial(jax.random.fold_in, key))(seeds))(root)
    heads = _initial_heads(features, train, layers, keys, config)
    optimiser = _optimiser(config)
    run = _compiled(optimiser, batch, config)
    state = jax.vmap(jax.vmap(jax.vmap(partial(_initial_state, optimiser))))(heads)
    history = np.full((len(layers), *keys.shape, config.epochs), np.nan, np.float32)
    for start in range(0, config.epochs, EPOCHS_PER_CALL):
        count = min(EPOCHS_PER_CALL, config.epochs - start)
        epochs = jnp.arange(start, start + count)
        state, losses = run(
            state, heads, stacked, target, order, present, validation, weight, keys, noise, epochs
        )
        history[..., start : start + count] = np.asarray(losses)
        progress(start + count)
        waited = start + count - np.asarray(state.best_epoch)
        if validation.any() and (waited > config.patience).all():
            break
    return Fitted(
        heads=heads.replace(**state.best),
        validation_loss=np.asarray(state.best_loss),
        best_epoch=np.asarray(state.best_epoch),
        history=history,
    )


def head_logits(heads: RiskHead, features: np.ndarray) -> np.ndarray:
    """Uncalibrated logits [L, K, Q, A] of heads [L, K] on `features` [Q, L, D]."""
    stacked = jnp.asarray(np.moveaxis(features, 1, 0))
    over_members = jax.vmap(risk_logits, in_axes=(0, None))
    return np.asarray(jax.jit(jax.vmap(over_members))(heads, stacked))


def _padded(train: Sequence[np.ndarray], batch: int) -> tuple[Array, Array]:
    """Row indices [K, M] and 1/0 presence, M a multiple of `batch`."""
    length = batch * -(-max(len(rows) for rows in train) // batch)
    order = np.zeros((len(train), length), np.int32)
    present = np.zeros((len(train), length), np.float32)
    for member, rows in enumerate(train):
        order[member, : len(rows)] = rows
        present[member, : len(rows)] = 1
    return jnp.asarray(order), jnp.asarray(present)


def _class_weight(labels: np.ndarray, most: float) -> np.ndarray:
    """Float32 [2, A]: the weight of a negative and of a positive; zeros where one class is absent.

    Scaled so that the mean weight of a row is 1, whatever the base rate.
    """
    positive = labels.mean(axis=0)
    up = np.clip((1 - positive) / np.maximum(positive, 1e-9), 1.0, most)
    both = np.stack([np.ones_like(up), up]) / (1 - positive + positive * up)
    return np.where((positive > 0) & (positive < 1), both, 0.0).astype(np.float32)


def _initial_heads(
    features: np.ndarray,
    train: Sequence[np.ndarray],
    layers: Sequence[int],
    keys: Array,
    config: TrainConfig,
) -> RiskHead:
    """Heads [L, K, S] with the normaliser of each member's training rows."""
    width = features.shape[-1]
    initial = partial(RiskHead.initial, width=width, hidden=config.hidden, layer=0)
    heads = jax.vmap(jax.vmap(initial))(keys)
    heads = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(layers), *leaf.shape)), heads)
    normalisers = [
        [_normaliser(features[rows, layer]) for rows in train] for layer in range(len(layers))
    ]
    mean, scale = np.moveaxis(np.asarray(normalisers), 2, 0)
    numbers = jnp.asarray(layers, jnp.int32)[:, None, None]
    return heads.replace(
        mean=jnp.broadcast_to(mean[:, :, None], heads.mean.shape),
        scale=jnp.broadcast_to(scale[:, :, None], heads.scale.shape),
        layer=jnp.broadcast_to(numbers, heads.layer.shape),
    )


def _normaliser(rows: np.ndarray) -> np.ndarray:
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


def _initial_state(optimiser: optax.GradientTransformation, head: RiskHead) -> _State:
    weights = {name: getattr(head, name) for name in FITTED}
    return _State(weights, optimiser.init(weights), weights, jnp.float32(jnp.inf), jnp.int32(0))


def _compiled(optimiser: optax.GradientTransformation, batch: int, config: TrainConfig):
    """The train loop over a block of epochs, for all layers, members and trials."""

    def loss(weights, head, x, y, row_weight, class_weight):
        entropy = optax.sigmoid_binary_cross_entropy(risk_logits(head.replace(**weights), x), y)
        cost = entropy * jnp.where(y > 0, class_weight[1], class_weight[0])
        return (cost.sum(-1) * row_weight).sum() / jnp.maximum(row_weight.sum(), 1.0)

    def train_epoch(state, head, data, rows, class_weight, key, noise, epoch):
        x, y = data
        order, present, validation = rows
        shuffle, jitter = jax.random.split(jax.random.fold_in(key, epoch))
        shuffled = jax.random.permutation(shuffle, len(order)).reshape(-1, batch)

        def step(carry, picked):
            weights, moments = carry
            at, here = order[picked], present[picked]
            normal = jax.random.normal(jax.random.fold_in(jitter, picked[0]), (batch, x.shape[-1]))
            seen = x[at] + noise * head.scale * normal
            gradient = jax.grad(loss)(weights, head, seen, y[at], here, class_weight)
            updates, moments = optimiser.update(gradient, moments, weights)
            return (optax.apply_updates(weights, updates), moments), None

        (weights, moments), _ = jax.lax.scan(step, (state.weights, state.moments), shuffled)
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
        rows = (order, present, validation)

        def body(carry, epoch):
            return train_epoch(carry, head, (x, y), rows, class_weight, key, noise, epoch)

        return jax.lax.scan(body, state, epochs)

    #            state, head, x, y, order, present, validation, class weight, key, noise, epochs
    per_trial = (0, 0, None, None, None, None, None, None, 0, 0, None)
    per_member = (0, 0, None, None, 0, 0, 0, 0, 0, None, None)
    per_layer = (0, 0, 0, None, None, None, None, None, None, None, None)
    for axes in (per_trial, per_member, per_layer):
        train = jax.vmap(train, in_axes=axes)
    return jax.jit(train)
