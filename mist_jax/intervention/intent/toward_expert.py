"""What a safe demonstrator would do otherwise, as the activations foretell it."""

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
class TowardExpert(ActionIntent):
    """d = z @ weights + bias in x, y and z, no longer than `size`; nothing in other dimensions.

    d is the expert's action minus the policy's, the mean of a chunk, in executed units a control
    step: where the policy does as the expert would, it is nought by itself.
    """

    projection: Projection
    weights: Float[Array, "k 3"]
    bias: Float[Array, "3"]
    size: Float[Array, ""]

    @classmethod
    def of(
        cls, projection: Projection, weights: ArrayLike, bias: ArrayLike, size: ArrayLike
    ) -> Self:
        """From [k, 3], [3], and the greatest length in executed units a control step.

        Raises:
            UserError: another shape, or a value that is not finite.
        """
        turn, start = readout("a correction", projection, weights, bias, XYZ)
        return cls(projection, turn, start, finite("the size of the change", size, ()))

    def wanted(
        self,
        features: Float[Array, "B features"],
        opened: Float[Array, "B #V"],
        risk: Float[Array, "B M"],
    ) -> Float[Array, "B A"]:
        """The foretold correction, whichever direction of the gate is open."""
        change = self.projection(features) @ self.weights + self.bias
        norm = jnp.linalg.norm(change, axis=-1, keepdims=True)
        change = change * jnp.minimum(1.0, self.size / jnp.where(norm > 0, norm, 1.0))
        return jnp.pad(change, ((0, 0), (0, len(ACTION_DIMENSIONS) - XYZ)))
