"""Straight up, whatever alarms: the way out that no obstacle on a table blocks."""

from typing import Self

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import ACTION_DIMENSIONS, Array, Float
from mist_jax.intervention.finite import finite
from mist_jax.intervention.intent.intent import ActionIntent

_UP = np.eye(len(ACTION_DIMENSIONS), dtype=np.float32)[ACTION_DIMENSIONS.index("z")]


@struct.dataclass
class Upward(ActionIntent):
    """`size` of z+ in the world frame, as the actions are, and nothing in the other dimensions."""

    size: Float[Array, ""]

    @classmethod
    def of(cls, size: ArrayLike) -> Self:
        """From its length in executed units a control step.

        Raises:
            UserError: it is not one finite number.
        """
        return cls(finite("the size of the change", size, ()))

    def wanted(
        self,
        features: Float[Array, "B features"],
        opened: Float[Array, "B #V"],
        risk: Float[Array, "B M"],
    ) -> Float[Array, "B A"]:
        """The same for every example, whichever direction of the gate is open."""
        return jnp.broadcast_to(self.size * _UP, (len(opened), len(ACTION_DIMENSIONS)))
