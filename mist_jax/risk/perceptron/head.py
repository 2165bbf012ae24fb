"""The risk head as a detector: the perceptron that reads the policy's activations, and ships."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.intervention.risk_head import RiskHead
from mist_jax.risk.calibration import Platt
from mist_jax.risk.detector import Shipped, activation_at
from mist_jax.risk.features import Samples
from mist_jax.risk.perceptron.detector import (
    Perceptron,
    PerceptronFit,
    head_of,
    one_logits,
)
from mist_jax.risk.plan import Plan

HEAD = "head"


class RiskHeadDetector(Perceptron):
    """Reads one of the stored layers of the samples' site."""

    reader = RiskHead

    def score(self, member, samples: Samples) -> np.ndarray:
        activation = activation_at(samples, int(member["layer"]), "the risk head")
        return one_logits(head_of(member), activation)

    def may_read(self, layers, plan: Plan) -> np.ndarray:
        """Those that leave later ones to steer."""
        return plan.may_read(layers)

    def ship(self, fit: PerceptronFit, samples: Samples, plan: Plan) -> Shipped:
        """The refit, calibrated by what the folds said of scenes that they did not see."""
        refit = self.refit(fit, samples, plan)
        head = replace(head_of(refit.member), site=samples.site)

        def calibrated(platt: Platt) -> RiskHead:
            whole = replace(head, platt_scale=platt.scale, platt_shift=platt.shift)
            return jax.tree.map(jnp.asarray, whole)

        return Shipped(refit.outside, calibrated, refit.validation_auroc)


RISK_HEAD = RiskHeadDetector(HEAD, lambda samples: (samples.activation, samples.layers))
