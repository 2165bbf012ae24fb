"""Against the motions whose risk is high: the simple rule."""

from typing import Self

import jax.numpy as jnp
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import SIGNED_MOTIONS, Array, Float
from mist_jax.intervention.finite import finite
from mist_jax.intervention.intent.intent import ActionIntent


@struct.dataclass
class AgainstMotion(ActionIntent):
    """-sum_m sign(m) opened(m) size(dimension of m): less of every motion whose gate is open.

    Its gate listens one to one: a direction is a signed motion. Both ways open cancel.
    """

    size: Float[Array, "A"]

    @classmethod
    def of(cls, size: ArrayLike) -> Self:
        """From [A], executed units a control step of each dimension.

        Raises:
            UserError: another shape, or a value that is not finite.
        """
        return cls(finite("the size of each dimension", size, ("action dimensions",)))

    def wanted(
        self,
        features: Float[Array, "B features"],
        opened: Float[Array, "B #V"],
        risk: Float[Array, "B M"],
    ) -> Float[Array, "B A"]:
        """Forward opened takes away, backward opened adds."""
        each = jnp.broadcast_to(opened, (len(opened), len(SIGNED_MOTIONS)))
        return (each[:, 1::2] - each[:, 0::2]) * self.size
