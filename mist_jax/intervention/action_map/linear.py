"""A Jacobian that depends linearly on what the activations say."""

from typing import Self

import jax.numpy as jnp
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import Array, Float
from mist_jax.errors import UserError
from mist_jax.intervention.action_map.damping import DAMPING, checked_damping
from mist_jax.intervention.action_map.least_norm import least_norm
from mist_jax.intervention.action_map.map import ActionMap
from mist_jax.intervention.features import Projection
from mist_jax.intervention.finite import finite


@struct.dataclass
class LinearMap(ActionMap):
    """Least norm by J(h) = J_0 + sum_k z_k J_k, with z the projection of the features."""

    projection: Projection
    terms: Float[Array, "terms A S D"]  # J_0, then one per number of z
    damping: Float[Array, ""]  # relative: rows of a Jacobian are scaled to norm 1 first

    @classmethod
    def of(cls, projection: Projection, terms: ArrayLike, *, damping: float = DAMPING) -> Self:
        """From a projection to k numbers and Jacobians [1 + k, A, S, D].

        Raises:
            UserError: another shape, a value that is not finite, or damping that is not positive.
        """
        axes = ("1 + k", "action dimensions", "tokens", "width")
        jacobians = finite("a linear map's Jacobians", terms, axes)
        if len(jacobians) != 1 + len(projection.scale):
            raise UserError(
                f"a projection to {len(projection.scale)} numbers needs "
                f"{1 + len(projection.scale)} Jacobians, not {len(jacobians)}"
            )
        return cls(projection, jacobians, checked_damping(damping))

    @property
    def extent(self) -> tuple[int | None, int]:
        """Any examples; width."""
        return None, self.terms.shape[-1]

    def jacobian(self, features: Float[Array, "B features"]) -> Float[Array, "B A S D"]:
        """What the features say."""
        z = self.projection(features)
        return self.terms[0] + jnp.einsum("bk,kasd->basd", z, self.terms[1:])

    def push(
        self, features: Float[Array, "B features"], wanted: Float[Array, "B A"]
    ) -> Float[Array, "B S D"]:
        """The least push by what the features say."""
        return least_norm(self.jacobian(features), wanted, self.damping)
