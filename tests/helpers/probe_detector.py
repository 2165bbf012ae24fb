"""Small detectors of the tests' own: scikit-learn's logistic regression, and the step index."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from sklearn.linear_model import LogisticRegression

from mist_jax.axes import SIGNED_MOTIONS, Array, Float, Int
from mist_jax.risk.detector import Fit, activation_at
from mist_jax.risk.features import Samples

MOTIONS = len(SIGNED_MOTIONS)


@struct.dataclass
class ProbeReader:
    """An ensemble of lines through the activations of one layer of one site."""

    weight: Float[Array, "E D M"]
    bias: Float[Array, "E M"]
    platt_scale: Float[Array, "E M"]
    platt_shift: Float[Array, "E M"]
    ensemble_scale: Float[Array, "M"]
    ensemble_shift: Float[Array, "M"]
    layer: Int[Array, ""]
    sites: tuple[str, ...] = struct.field(pytree_node=False)

    @property
    def widths(self):
        return (self.weight.shape[1],)

    def start(self, batch):
        return jnp.zeros((batch, self.weight.shape[1]))

    def reads(self, site, layer):
        return layer == self.layer

    def absorb(self, reading, site, layer, activation):
        return reading + activation.astype(jnp.float32)

    def forecast(self, reading, proprio, memory):
        logit = jnp.einsum("BD,EDM->EBM", reading, self.weight) + self.bias[:, None]
        each = jax.nn.sigmoid(self.platt_scale[:, None] * logit + self.platt_shift[:, None])
        mean = jnp.clip(each.mean(axis=0), 1e-6, 1 - 1e-6)
        logit = jnp.log(mean) - jnp.log1p(-mean)
        return jax.nn.sigmoid(self.ensemble_scale * logit + self.ensemble_shift), memory

    def no_memory(self, batch):
        return ()


@dataclass(frozen=True)
class LinearProbe:
    """Reads the stored layer `at` (an index); remembers what it was trained on by its mean."""

    name: str = "probe"
    learner: str = "probe"
    claims: str = "contact"
    at: int = 1
    reader = ProbeReader

    def epochs(self, plan):
        return 0

    def fit(self, samples: Samples, plan, progress):
        return Fit([self._member(samples, plan, k) for k in range(plan.folds.count)])

    def score(self, member, samples: Samples):
        activation = activation_at(samples, int(member["layer"]), self.name)
        return activation @ np.asarray(member["weight"]) + np.asarray(member["bias"])

    def ship(self, members, platts, ensemble, samples, plan):
        def stacked(leaves):
            return jnp.asarray(np.stack([np.asarray(leaf) for leaf in leaves]))

        return ProbeReader(
            weight=stacked([member["weight"] for member in members]),
            bias=stacked([member["bias"] for member in members]),
            platt_scale=stacked([platt.scale for platt in platts]),
            platt_shift=stacked([platt.shift for platt in platts]),
            ensemble_scale=jnp.asarray(ensemble.scale),
            ensemble_shift=jnp.asarray(ensemble.shift),
            layer=jnp.asarray(members[0]["layer"]),
            sites=(samples.site,),
        )

    def _member(self, samples: Samples, plan, k: int):
        rows = plan.folds.labelled(k, samples).train & samples.valid
        activation, labels = samples.activation[rows, self.at], samples.risk[rows]
        weight = np.zeros((activation.shape[1], MOTIONS), np.float32)
        bias = np.zeros(MOTIONS, np.float32)
        for i in np.flatnonzero(plan.usable & labels.any(axis=0)):
            fitted = LogisticRegression().fit(activation, labels[:, i])
            weight[:, i], bias[i] = fitted.coef_[0], fitted.intercept_[0]
        return {
            "weight": weight,
            "bias": bias,
            "seen": activation.mean(axis=0),
            "layer": np.int32(samples.layers[self.at]),
        }


@dataclass(frozen=True)
class Steps:
    """A clock that learns nothing: the later, the more dangerous."""

    name: str = "clock"
    learner: str = "clock"
    claims: str = "contact"

    def epochs(self, plan):
        return 0

    def fit(self, samples, plan, progress):
        return Fit([{"sign": np.float32(1.0)}] * plan.folds.count)

    def score(self, member, samples):
        return np.repeat(member["sign"] * samples.step[:, None] / 100.0, MOTIONS, axis=1)
