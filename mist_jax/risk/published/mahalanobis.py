"""Mahalanobis distances to successful and failed queries: a detector of failure that can gate.

As a detector it is SAFE's (Gu et al., arXiv 2506.09937; Lee et al. 2018). To open gates its one
score is calibrated for each action dimension: how often did a contact that this dimension drives
follow such a score? Where the score ranks contacts backwards, that is the base rate.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mist_jax.axes import Array, Float, Int
from mist_jax.risk.calibration import Platt
from mist_jax.risk.detector import (
    Claim,
    Fit,
    Member,
    Progress,
    Shipped,
    activation_at,
    per_dimension,
)
from mist_jax.risk.features import Samples
from mist_jax.risk.judging.metrics import mean_auroc
from mist_jax.risk.plan import Plan
from mist_jax.risk.published.distances import distance_to, gaussian
from mist_jax.risk.published.outcomes import both_outcomes, episodes_of, outcome_queries


@struct.dataclass
class MahalanobisReader:
    """Two Gaussians of normalised activations and a Platt calibration per dimension.

    A distance is the norm of (normalised activation - centre) @ whiten; the score is the distance
    to successes less that to failures. probability = sigmoid(platt_scale * score + platt_shift).
    """

    mean: Float[Array, "D"]
    scale: Float[Array, "D"]
    success_centre: Float[Array, "D"]
    success_whiten: Float[Array, "D D"]
    failure_centre: Float[Array, "D"]
    failure_whiten: Float[Array, "D D"]
    platt_scale: Float[Array, "A"]
    platt_shift: Float[Array, "A"]
    layer: Int[Array, ""]
    site: str = struct.field(pytree_node=False, default="llm.resid")

    @property
    def width(self) -> int:
        """Features of the activation it reads."""
        return self.mean.shape[-1]

    def probability(self, activation: Float[Array, "B D"]) -> Float[Array, "B A"]:
        """Calibrated probability that each dimension drives a harmful contact, float32."""
        normal = (activation.astype(jnp.float32) - self.mean) / self.scale

        def distance(centre: Array, whiten: Array) -> Array:
            # A difference of distances: fast low-precision products would drown it.
            apart = jnp.matmul(normal - centre, whiten, precision=jax.lax.Precision.HIGHEST)
            return jnp.linalg.norm(apart, axis=-1)

        score = distance(self.success_centre, self.success_whiten) - distance(
            self.failure_centre, self.failure_whiten
        )
        return jax.nn.sigmoid(self.platt_scale * score[:, None] + self.platt_shift)

    def __repr__(self) -> str:
        return f"MahalanobisReader(site={self.site!r}, width={self.width})"


@dataclass(frozen=True)
class Mahalanobis:
    """Far from successful training episodes, near to failed ones, each under its covariance."""

    name: str = "Mahalanobis"
    claims: Claim = "failure"
    reader = MahalanobisReader

    @property
    def learner(self) -> str:
        return self.name

    def epochs(self, plan: Plan) -> int:
        return 0

    def fit(self, samples: Samples, plan: Plan, progress: Progress) -> Fit:
        """Two Gaussians per fold, of its training episodes that ended."""
        train, _ = episodes_of(samples, plan.folds)
        members: list[Member | None] = [None] * plan.folds.count
        for k in both_outcomes(samples, train):
            members[k] = _gaussians(samples, train[k], plan)
        return Fit(members)

    def score(self, member: Member, samples: Samples) -> np.ndarray:
        """Scores [Q]."""
        activation = activation_at(samples, int(member["layer"]), self.name)
        normal = (activation - member["mean"]) / member["scale"]
        success, failure = (
            distance_to(member[f"{of}_centre"], member[f"{of}_whiten"], normal)
            for of in ("success", "failure")
        )
        return success - failure

    def ship(self, fit: Fit, samples: Samples, plan: Plan) -> Shipped:
        """The Gaussians of all episodes that ended."""
        folds = plan.folds
        labels = samples.risk & plan.usable
        outside = np.zeros(len(samples))
        found = []
        for k, member in enumerate(fit.members):
            if member is None:
                continue  # cross-fitting has refused such a fold
            score = self.score(member, samples)
            outside[folds.test(k, samples)] = score[folds.test(k, samples)]
            rows = folds.labelled(k, samples).validation
            found.append(mean_auroc(per_dimension(score[rows]), labels[rows]))
        figures = np.full(len(samples.layers), np.nan)
        whole = _gaussians(samples, samples.ended, plan)
        figures[samples.layers.index(int(whole["layer"]))] = (
            np.nanmean(found) if np.isfinite(found).any() else np.nan
        )
        arrays = {name: jnp.asarray(leaf) for name, leaf in whole.items()}  # float32 from here on

        def calibrated(platt: Platt) -> MahalanobisReader:
            scale, shift = jnp.asarray(platt.scale), jnp.asarray(platt.shift)
            return MahalanobisReader(
                **arrays, platt_scale=scale, platt_shift=shift, site=samples.site
            )

        return Shipped(outside, calibrated, figures)


def _gaussians(samples: Samples, train: np.ndarray, plan: Plan) -> Member:
    """Of the last layer that may be read."""
    layers = np.asarray(samples.layers)
    layer = int(layers[plan.may_read(samples.layers)].max())
    known = dict(outcome_queries(samples, train, layer))
    for outcome in ("success", "failure"):
        centre, whiten = gaussian(known.pop(outcome))
        known |= {f"{outcome}_centre": centre, f"{outcome}_whiten": whiten}
    return known


MAHALANOBIS = Mahalanobis()
