"""LogpZO: how likely a query's noise is, by a flow that carries the training queries to noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.axes import Array, Float
from mist_jax.risk.detector import Member, Progress
from mist_jax.risk.published.contrast import Contrast
from mist_jax.risk.published.descent import (
    BLOCKS,
    HIDDEN,
    Layers,
    applied,
    descend,
    flattened,
    perceptron,
    unflattened,
)
from mist_jax.risk.published.sides import Sides

LAYERS = 3


@dataclass(frozen=True)
class Flow:
    """Height of a query under the flow of quiet queries less that under the flow of harmful ones.

    FAIL-Detect, arXiv 2503.08558 (its logpZO), and with two flows SAFE (arXiv 2506.09937,
    `failure_prob/model/logpZO.py`). A velocity v(x, t) is learnt by flow matching (Lipman et al.,
    arXiv 2210.02747): at x = (1 - t) o + t z, of an activation o and normal noise z, it is to be
    z - o. The noise of a query is taken in one Euler step from t = 0, Z(o) = o + v(o, 0), and its
    height is |Z(o)|^2: twice the negative logarithm of the normal density of Z, short of a
    constant. It is no likelihood of o: the change of volume is left out, as published. What
    differs: v is a perceptron of x and t (D + 1 to 256 to 256 to D, SiLU) where that is a U-net
    with 100 discrete times, and it learns in at most 1,000 steps of 256 queries at a rate of 1e-3.
    """

    blocks: int = 2 * BLOCKS

    def fit(self, sides: Sequence[Sides], progress: Progress) -> list[dict[str, Any]]:
        """A velocity for each side of each fold."""
        return [self._fold(side, progress) for side in sides]

    def score(self, learnt: Member, features: np.ndarray) -> np.ndarray:
        """Float [Q] of standardised `features` [Q, D]."""
        quiet, harm = (unflattened(name, learnt, LAYERS) for name in ("quiet", "harm"))
        return np.asarray(_contrast(quiet, harm, features), np.float64)

    def _fold(self, side: Sides, progress: Progress) -> dict[str, Any]:
        width = side.features.shape[1]
        start = perceptron(jax.random.key(0), (width + 1, HIDDEN, HIDDEN, width))
        learnt: dict[str, Any] = {}
        for name, harm in (("quiet", False), ("harm", True)):
            velocity = descend(matching_loss, start, [], side.rows(harm), 1, progress)
            learnt |= flattened(name, velocity)
        return learnt


def velocity_at(velocity: Layers, x: Float[Array, "Q D"], time: Float[Array, "Q"]) -> Array:
    """v(x, t), [Q, D]."""
    return applied(velocity, jnp.concatenate([x, time[:, None]], axis=1))


def height(velocity: Layers, x: Float[Array, "Q D"]) -> Float[Array, "Q"]:
    """|x + v(x, 0)|^2."""
    return ((x + velocity_at(velocity, x, jnp.zeros(len(x)))) ** 2).sum(-1)


def matching_loss(velocity: Layers, _: Layers, batch: Array, key: Array) -> Array:
    """Mean squared error of the velocity at random times of random paths."""
    noise_key, time_key = jax.random.split(key)
    noise = jax.random.normal(noise_key, batch.shape)
    time = jax.random.uniform(time_key, (len(batch),))
    along = batch + time[:, None] * (noise - batch)
    return ((velocity_at(velocity, along, time) - (noise - batch)) ** 2).mean()


@jax.jit
def _contrast(quiet, harm, x):
    return height(quiet, x) - height(harm, x)


LOGPZO = Contrast("LogpZO", Flow())
