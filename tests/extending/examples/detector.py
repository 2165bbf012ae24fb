"""A detector of one's own that opens gates: a line through the activations of one layer.

    python -m experiments.train_risk_predictor --extensions=detector --detector=line ...

Its folder is then a risk head like any other: run_evaluation --extensions=detector --risk_head=...
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mist_jax.axes import ACTION_DIMENSIONS, Array, Float, Int
from mist_jax.risk.detector import Fit, Shipped


@struct.dataclass
class LineReader:
    """What the compiled forward evaluates: one score, calibrated for each dimension."""

    weight: Float[Array, "D"]
    scale: Float[Array, "A"]
    shift: Float[Array, "A"]
    layer: Int[Array, ""]
    site: str = struct.field(pytree_node=False, default="llm.resid")

    @property
    def width(self):
        """Of the activations that it reads."""
        return self.weight.shape[-1]

    def probability(self, activation):
        """[B, A] of pooled activations [B, D]."""
        score = activation.astype(jnp.float32) @ self.weight
        return jax.nn.sigmoid(self.scale * score[:, None] + self.shift)


def line(samples, rows):
    """Mean of the queries before a contact minus mean of the others, at the first stored layer."""
    activation, risky = samples.activation[rows, 0], samples.risk[rows].any(axis=1)
    return (activation[risky].mean(axis=0) - activation[~risky].mean(axis=0)).astype(np.float32)


@dataclass(frozen=True)
class Line:
    """One member per fold, learnt on the fold's training queries alone."""

    name: str = "line"
    learner: str = "line"
    claims: str = "contact"
    reader = LineReader

    def epochs(self, plan):
        """None: it is fitted in one go."""
        return 0

    def fit(self, samples, plan, progress):
        """Each fold's line."""
        train = [plan.folds.labelled(k, samples).train for k in range(plan.folds.count)]
        return Fit([{"weight": line(samples, rows)} for rows in train])

    def score(self, member, samples):
        """[Q, A]; calibrated later, for every detector alike."""
        score = samples.activation[:, 0] @ member["weight"]
        return np.repeat(score[:, None], len(ACTION_DIMENSIONS), axis=1)

    def ship(self, fit, samples, plan):
        """The line of all queries, calibrated on scores by lines that did not see them."""
        fold = plan.folds.fold[samples.episode]
        scores = np.stack([self.score(member, samples) for member in fit.members])
        weight = jnp.asarray(line(samples, samples.valid))
        return Shipped(
            outside=scores[fold, np.arange(len(samples))],
            reader=lambda platt: LineReader(
                weight,
                jnp.asarray(platt.scale),
                jnp.asarray(platt.shift),
                jnp.int32(samples.layers[0]),
                samples.site,
            ),
            validation_auroc=np.full(len(samples.layers), np.nan),
        )


DETECTORS = (Line(),)
