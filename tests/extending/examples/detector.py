"""A detector of one's own that opens gates: a line through the activations of one layer.

    python -m experiments.train_risk_predictor --extensions=detector --detector=line ...

Its folder is then a risk head like any other: run_evaluation --extensions=detector --risk_head=...
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mist_jax.axes import SIGNED_MOTIONS, Array, Float, Int
from mist_jax.risk.detector import Fit


@struct.dataclass
class LineReader:
    """What the compiled forward evaluates: a score per member, calibrated for each motion."""

    weight: Float[Array, "E D"]
    scale: Float[Array, "E M"]
    shift: Float[Array, "E M"]
    ensemble_scale: Float[Array, "M"]
    ensemble_shift: Float[Array, "M"]
    layer: Int[Array, ""]
    sites: tuple[str, ...] = struct.field(pytree_node=False, default=("llm.resid",))

    @property
    def widths(self):
        """Of the activations that it reads."""
        return (self.weight.shape[-1],)

    def start(self, batch):
        """Nothing was read yet."""
        return jnp.zeros((batch, self.weight.shape[-1]))

    def reads(self, site, layer):
        """One layer of its one site."""
        return layer == self.layer

    def absorb(self, reading, site, layer, activation):
        """That layer's activation."""
        return reading + activation.astype(jnp.float32)

    def forecast(self, reading, proprio, memory):
        """[B, M]: the mean of what the members say, calibrated once more."""
        score = reading @ self.weight.T  # [B, E]
        each = jax.nn.sigmoid(self.scale * score[..., None] + self.shift)
        mean = jnp.clip(each.mean(axis=1), 1e-6, 1 - 1e-6)
        logit = jnp.log(mean) - jnp.log1p(-mean)
        return jax.nn.sigmoid(self.ensemble_scale * logit + self.ensemble_shift), memory

    def no_memory(self, batch):
        """It remembers nothing."""
        return ()


def line(samples, rows):
    """Mean of the queries before an event minus mean of the others, at the first stored layer."""
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
        return Fit([{"weight": line(samples, rows & samples.valid)} for rows in train])

    def score(self, member, samples):
        """[Q, M]; calibrated later, for every detector alike."""
        score = samples.activation[:, 0] @ np.asarray(member["weight"])
        return np.repeat(score[:, None], len(SIGNED_MOTIONS), axis=1)

    def ship(self, members, platts, ensemble, samples, plan):
        """The members with their calibrations, as one reader."""
        return LineReader(
            weight=jnp.stack([jnp.asarray(member["weight"]) for member in members]),
            scale=jnp.stack([jnp.asarray(platt.scale) for platt in platts]),
            shift=jnp.stack([jnp.asarray(platt.shift) for platt in platts]),
            ensemble_scale=jnp.asarray(ensemble.scale),
            ensemble_shift=jnp.asarray(ensemble.shift),
            layer=jnp.int32(samples.layers[0]),
            sites=(samples.site,),
        )


DETECTORS = (Line(),)
