"""Mahalanobis distances to quiet and to harmful queries, as a detector that can gate.

SAFE's (Gu et al., arXiv 2506.09937; Lee et al., arXiv 1807.03888). To open gates its one score is
calibrated for each signed motion: how often did an event that this motion drives follow such a
score? Where the score ranks events backwards, that is the base rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mist_jax.axes import Array, Bool, Float, Int
from mist_jax.intervention.site import DEFAULT_SITE
from mist_jax.risk.calibration.platt import Platt
from mist_jax.risk.detector import Member, Progress
from mist_jax.risk.features import Samples
from mist_jax.risk.plan import Plan
from mist_jax.risk.published.contrast import Contrast
from mist_jax.risk.published.distances import distance_to, gaussian
from mist_jax.risk.published.sides import Sides

SIDES = ("quiet", "harm")


@struct.dataclass
class MahalanobisReader:
    """Two Gaussians of normalised activations per member, each calibrated, and their ensemble.

    A distance is the norm of (normalised activation - centre) @ whiten; a member's score is the
    distance to quiet queries less that to harmful ones, its risk sigmoid(platt_scale * score +
    platt_shift). The risk is sigmoid(ensemble_scale * logit(mean over members) + ensemble_shift).
    A `RiskReader` of one layer of one site; it needs no memory.
    """

    mean: Float[Array, "E D"]
    scale: Float[Array, "E D"]
    quiet_centre: Float[Array, "E D"]
    quiet_whiten: Float[Array, "E D D"]
    harm_centre: Float[Array, "E D"]
    harm_whiten: Float[Array, "E D D"]
    platt_scale: Float[Array, "E M"]
    platt_shift: Float[Array, "E M"]
    ensemble_scale: Float[Array, "M"]
    ensemble_shift: Float[Array, "M"]
    layer: Int[Array, ""]
    sites: tuple[str, ...] = struct.field(pytree_node=False, default=(DEFAULT_SITE,))

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of the activation it reads."""
        return (self.mean.shape[-1],)

    def start(self, batch: int) -> Float[Array, "B D"]:
        """No activation yet."""
        return jnp.zeros((batch, self.mean.shape[-1]))

    def reads(self, site: str, layer: Int[Array, ""]) -> Bool[Array, ""]:
        """Its own layer alone."""
        return jnp.asarray(layer == self.layer)

    def absorb(
        self, reading: Array, site: str, layer: Int[Array, ""], activation: Float[Array, "B D"]
    ) -> Float[Array, "B D"]:
        """The activation."""
        return activation.astype(jnp.float32)

    def forecast(
        self, reading: Float[Array, "B D"], proprio: Float[Array, "B proprio"], memory: Any
    ) -> tuple[Float[Array, "B M"], Any]:
        """Calibrated probability that each signed motion drives an event, float32."""
        normal = (reading - self.mean[:, None]) / self.scale[:, None]  # [E, B, D]

        def distance(centre: Array, whiten: Array) -> Array:
            # A difference of distances: fast low-precision products would drown it.
            exact = jax.lax.Precision.HIGHEST
            apart = jnp.einsum("EBD,EDF->EBF", normal - centre[:, None], whiten, precision=exact)
            return jnp.linalg.norm(apart, axis=-1)

        score = distance(self.quiet_centre, self.quiet_whiten) - distance(
            self.harm_centre, self.harm_whiten
        )
        logit = self.platt_scale[:, None] * score[..., None] + self.platt_shift[:, None]
        mean = jax.nn.sigmoid(logit).mean(axis=0)
        together = jax.scipy.special.logit(jnp.clip(mean, 1e-6, 1 - 1e-6))
        return jax.nn.sigmoid(self.ensemble_scale * together + self.ensemble_shift), memory

    def no_memory(self, batch: int) -> Any:
        """Nothing is kept."""
        return ()

    def __repr__(self) -> str:
        return f"MahalanobisReader(sites={self.sites}, widths={self.widths})"


@dataclass(frozen=True)
class Gaussians:
    """Distance to the quiet queries less that to the harmful ones, each under its covariance."""

    blocks: int = 0

    def fit(self, sides: Sequence[Sides], progress: Progress) -> list[dict[str, Any]]:
        """A centre [D] and a whitening [D, D] of each side."""
        learnt = []
        for side in sides:
            fold: dict[str, Any] = {}
            for name, harm in zip(SIDES, (False, True), strict=True):
                centre, whiten = gaussian(side.rows(harm))
                fold |= {f"{name}_centre": centre, f"{name}_whiten": whiten}
            learnt.append(fold)
        return learnt

    def score(self, learnt: Member, features: np.ndarray) -> np.ndarray:
        """Float [Q] of standardised `features` [Q, D]."""
        quiet, harm = (
            distance_to(
                np.asarray(learnt[f"{name}_centre"]), np.asarray(learnt[f"{name}_whiten"]), features
            )
            for name in SIDES
        )
        return quiet - harm


@dataclass(frozen=True)
class Mahalanobis(Contrast):
    """Reads the last stored layer that may be read, so that it can open gates at later ones."""

    reader = MahalanobisReader

    def layer(self, samples: Samples, plan: Plan) -> int:
        """The last that leaves later ones to steer."""
        return max(np.asarray(samples.layers)[plan.may_read(samples.layers)].tolist())

    def ship(
        self,
        members: Sequence[Member],
        platts: Sequence[Platt],
        ensemble: Platt,
        samples: Samples,
        plan: Plan,
    ) -> MahalanobisReader:
        """All members and their calibrations; every one of them reads the same layer."""
        learnt = ("mean", "scale", *(f"{s}_{part}" for s in SIDES for part in ("centre", "whiten")))
        return MahalanobisReader(
            **{name: _stacked([member[name] for member in members]) for name in learnt},
            platt_scale=_stacked([platt.scale for platt in platts]),
            platt_shift=_stacked([platt.shift for platt in platts]),
            ensemble_scale=jnp.asarray(ensemble.scale, jnp.float32),
            ensemble_shift=jnp.asarray(ensemble.shift, jnp.float32),
            layer=jnp.asarray(members[0]["layer"], jnp.int32),
            sites=(samples.site,),
        )


def _stacked(leaves: Sequence[Any]) -> Array:
    return jnp.asarray(np.stack([np.asarray(leaf, np.float32) for leaf in leaves]))


MAHALANOBIS = Mahalanobis("Mahalanobis", Gaussians())
