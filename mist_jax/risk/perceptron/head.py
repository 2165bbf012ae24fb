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
    best_layer,
    head_of,
    one_logits,
    pick,
)
from mist_jax.risk.perceptron.training import fit_heads, head_logits
from mist_jax.risk.plan import Plan
from mist_jax.risk.splits import Rows

HEAD = "head"


class RiskHeadDetector(Perceptron):
    """Reads one of the stored layers of the samples' site."""

    reader = RiskHead

    def score(self, member, samples: Samples) -> np.ndarray:
        activation = activation_at(samples, int(member["layer"]), "the risk head")
        return one_logits(head_of(member), activation)

    def ship(self, fit: PerceptronFit, samples: Samples, plan: Plan) -> Shipped:
        """Refits the best layer to every scene for as many epochs as the folds needed.

        What calibrates it are the folds' out-of-sample logits at that layer.
        """
        crossed, config, folds = fit, plan.train, plan.folds
        per_layer = np.asarray(
            [row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan
             for row in crossed.validation_auroc]
        )  # fmt: skip
        loss = crossed.fitted.validation_loss.mean(1)
        at = int(best_layer(per_layer[:, None], loss[:, None], 0)[0])
        noise, seed = config.trials[int(np.median(crossed.trial[at]))]
        epochs = max(1, int(np.median(crossed.fitted.best_epoch[at])))
        refit = replace(
            config, epochs=epochs, input_noise=(noise,), seeds=1, seed=config.seed + 1 + seed
        )
        features, _ = self.inputs(samples)
        labels, here = samples.risk & plan.usable, features[:, at : at + 1]
        everyone = Rows(samples.valid, np.zeros(len(samples), bool))
        fitted = fit_heads(here, labels, [everyone], [crossed.layers[at]], refit)
        members = jax.tree.map(lambda leaf: leaf[at : at + 1], crossed.fitted.heads)
        logits = head_logits(members, here)[0]  # [K, Q, A]
        outside = logits[folds.fold[samples.episode], np.arange(len(samples))]
        head = replace(pick(fitted.heads, (0, 0, 0)), site=samples.site)

        def calibrated(platt: Platt) -> RiskHead:
            whole = replace(head, platt_scale=platt.scale, platt_shift=platt.shift)
            return jax.tree.map(jnp.asarray, whole)

        return Shipped(outside, calibrated, per_layer)


RISK_HEAD = RiskHeadDetector(HEAD, lambda samples: (samples.activation, samples.layers))
