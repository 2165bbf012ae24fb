"""What to want: the seam of an intent."""

from typing import Protocol

from mist_jax.axes import Array, Float


class ActionIntent(Protocol):
    """A pytree of arrays: the change of the action wanted now, in executed units a control step.

    The operator multiplies it by how far the gate is open.
    """

    @property
    def examples(self) -> int | None:
        """Examples its arrays are for; None: any."""
        return None

    def wanted(
        self,
        features: Float[Array, "B features"],
        opened: Float[Array, "B #V"],
        risk: Float[Array, "B M"],
    ) -> Float[Array, "B A"]:
        """Of each example; zero is safe: it leaves the example alone.

        `features` are the pooled activations that the operator reads, `opened` is what the gate
        lets through, `risk` the probability of each signed motion (`UNREAD` before the forecast).
        """
        ...
