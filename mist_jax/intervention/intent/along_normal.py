"""Off the obstacle: along the normal of the contact that the activations foretell."""

from typing import Self

import jax.numpy as jnp
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import ACTION_DIMENSIONS, Array, Float
from mist_jax.intervention.features import Projection
from mist_jax.intervention.finite import finite
from mist_jax.intervention.intent.intent import ActionIntent
from mist_jax.intervention.intent.readout import readout

XYZ = 3


@struct.dataclass
class AlongNormal(ActionIntent):
    """size * n / |n| in x, y and z, n = z @ weights + bias; nothing in the other dimensions.

    n points from the obstacle to the robot side, in the world frame, as the actions do.
    """

    projection: Projection
    weights: Float[Array, "k 3"]
    bias: Float[Array, "3"]
    size: Float[Array, ""]

    @classmethod
    def of(
        cls, projection: Projection, weights: ArrayLike, bias: ArrayLike, size: ArrayLike
    ) -> Self:
        """From [k, 3], [3], and the length of the change in executed units a control step.

        Raises:
            UserError: another shape, or a value that is not finite.
        """
        turn, start = readout("a normal", projection, weights, bias, XYZ)
        return cls(projection, turn, start, finite("the size of the change", size, ()))

    def normal(self, features: Float[Array, "B features"]) -> Float[Array, "B 3"]:
        """The unit normal of each example, world; zero where nothing is foretold."""
        way = self.projection(features) @ self.weights + self.bias
        norm = jnp.linalg.norm(way, axis=-1, keepdims=True)
        return jnp.where(norm > 0, way / jnp.where(norm > 0, norm, 1), 0.0)

    def wanted(
        self,
        features: Float[Array, "B features"],
        opened: Float[Array, "B #V"],
        risk: Float[Array, "B M"],
    ) -> Float[Array, "B A"]:
        """Away from what is foretold to be hit, whichever direction of the gate is open."""
        rest = len(ACTION_DIMENSIONS) - XYZ
        return self.size * jnp.pad(self.normal(features), ((0, 0), (0, rest)))
