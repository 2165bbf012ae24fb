"""The hazard loss: cross-entropy of every window with its event, where a motion is at risk."""

import jax.numpy as jnp
import numpy as np
import optax

from mist_jax.axes import Array, Bool, Float


def hazard_loss(
    hazard: Float[Array, "*rows W M"],
    event: Bool[Array, "*rows W M"],
    at_risk: Bool[Array, "*rows W M"],
    weight: Float[Array, "2 M"],
) -> Float[Array, "*rows"]:
    """Of each row: the negative log-likelihood of discrete-time survival (Singer & Willett 1993).

    `hazard` are logits; `weight` is that of a cell without and with its event.
    """
    target = event.astype(jnp.float32)
    cost = optax.sigmoid_binary_cross_entropy(hazard, target)
    weighed = cost * jnp.where(event, weight[1], weight[0])
    return jnp.where(at_risk, weighed, 0.0).sum(axis=(-2, -1))


def class_weight(event: np.ndarray, at_risk: np.ndarray, most: float) -> np.ndarray:
    """Float32 [2, M]: the weight of a cell without and with its event, of bool [Q, W, M] each.

    Events weigh as much as their absence, but no more than `most` times; the mean over cells at
    risk is 1. Zeros where one class is absent: such a motion carries no loss.
    """
    cells = at_risk.sum(axis=(0, 1))
    positive = (event & at_risk).sum(axis=(0, 1)) / np.maximum(cells, 1)
    up = np.clip((1 - positive) / np.maximum(positive, 1e-9), 1.0, most)
    both = np.stack([np.ones_like(up), up]) / (1 - positive + positive * up)
    return np.where((positive > 0) & (positive < 1), both, 0.0).astype(np.float32)
