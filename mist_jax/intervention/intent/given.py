"""A change that is given, whatever the activations say."""

from typing import Self

from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import Array, Float
from mist_jax.intervention.finite import finite
from mist_jax.intervention.intent.intent import ActionIntent


@struct.dataclass
class Given(ActionIntent):
    """The same change at every query until another is given."""

    change: Float[Array, "B A"]

    @classmethod
    def of(cls, change: ArrayLike) -> Self:
        """From [B, A], in executed units a control step.

        Raises:
            UserError: another shape, or a value that is not finite.
        """
        return cls(finite("a given change", change, ("batch", "action dimensions")))

    @property
    def examples(self) -> int | None:
        """Those of the change."""
        return len(self.change)

    def wanted(
        self,
        features: Float[Array, "B features"],
        opened: Float[Array, "B #V"],
        risk: Float[Array, "B M"],
    ) -> Float[Array, "B A"]:
        """The change."""
        return self.change
