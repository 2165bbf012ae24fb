"""From a wanted change of the action to a push on tokens: the seam of an action map."""

from typing import Protocol

from mist_jax.axes import Array, Float


class ActionMap(Protocol):
    """A pytree of arrays. Actions are in executed units a control step, averaged over the chunk.

    S is 1 where all chosen tokens get one push, else the s-th push is the s-th chosen token's.
    """

    @property
    def extent(self) -> tuple[int | None, int]:
        """Examples (None: any) and width its arrays are for."""
        ...

    def jacobian(self, features: Float[Array, "B features"]) -> Float[Array, "B A S D"]:
        """How each example's action is taken to change with a push; not finite or zero: unknown."""
        ...

    def push(
        self, features: Float[Array, "B features"], wanted: Float[Array, "B A"]
    ) -> Float[Array, "B S D"]:
        """The push that changes each example's action by what is wanted; zero for zero."""
        ...
