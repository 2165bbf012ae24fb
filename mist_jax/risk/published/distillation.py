"""Random network distillation: where a learnt copy of a random network errs, queries are new."""

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

OUTPUTS = 64
LAYERS = 3


@dataclass(frozen=True)
class Distillation:
    """Error of the copy learnt on quiet queries less that of the copy learnt on harmful ones.

    Burda et al., arXiv 1810.12894; for policies FAIL-Detect (arXiv 2503.08558), and with two copies
    SAFE (arXiv 2506.09937, `failure_prob/model/rnd.py`). The error is the Euclidean distance of the
    outputs, and its mean is the loss. As there, the input is the activation and the planned chunk.
    What differs: the networks are perceptrons (D to 256 to 256 to 64, SiLU) where those are U-nets
    over the chunk, and learn in at most 1,000 steps of 256 queries at a rate of 1e-3.
    """

    blocks: int = 2 * BLOCKS

    def fit(self, sides: Sequence[Sides], progress: Progress) -> list[dict[str, Any]]:
        """Copies for each fold; the target is the same in all."""
        return [self._fold(side, progress) for side in sides]

    def score(self, learnt: Member, features: np.ndarray) -> np.ndarray:
        """Float [Q] of standardised `features` [Q, D]."""
        target, quiet, harm = (
            unflattened(name, learnt, LAYERS) for name in ("target", "quiet", "harm")
        )
        return np.asarray(_contrast(target, quiet, harm, features), np.float64)

    def _fold(self, side: Sides, progress: Progress) -> dict[str, Any]:
        widths = (side.features.shape[1], HIDDEN, HIDDEN, OUTPUTS)
        # Seeds 0 and 1: a copy that began as its target would have nothing to learn.
        target, start = (perceptron(jax.random.key(seed), widths) for seed in (0, 1))
        learnt = flattened("target", target)
        for name, harm in (("quiet", False), ("harm", True)):
            copy = descend(distillation_loss, start, target, side.rows(harm), 2, progress)
            learnt |= flattened(name, copy)
        return learnt


def error(copy: Layers, target: Layers, x: Float[Array, "Q D"]) -> Float[Array, "Q"]:
    """Euclidean distance of the two networks' outputs."""
    apart = applied(copy, x) - applied(target, x)
    return jnp.sqrt((apart**2).sum(-1) + 1e-12)  # the root has no slope at zero


def distillation_loss(copy: Layers, target: Layers, batch: Array, key: Array) -> Array:
    """Mean error of a batch; nothing is drawn."""
    return error(copy, target, batch).mean()


@jax.jit
def _contrast(target, quiet, harm, x):
    return error(quiet, target, x) - error(harm, target, x)


RND = Contrast("RND", Distillation(), beside=lambda samples: samples.action)
