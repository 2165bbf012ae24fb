"""Activation patching: tokens get the activation of another run."""

from typing import Self

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import Array, Bool, Float
from mist_jax.errors import UserError
from mist_jax.intervention.gate import AlwaysOpen, Gate
from mist_jax.intervention.operator import Edited, Operator
from mist_jax.intervention.site import DEFAULT_SITE, split_site
from mist_jax.intervention.tokens import role_mask


@struct.dataclass
class Replace(Operator):
    """Sets the chosen tokens to `value` at the layers that are `on`. Float32.

    A gate that opens in part goes that part of the way.
    """

    value: Float[Array, "#B L D"]
    on: Float[Array, "L"]  # 1 at the layers replaced
    gate: Gate
    tokens: Float[Array, "R"]
    site: str = struct.field(pytree_node=False, default=DEFAULT_SITE)

    @classmethod
    def of(
        cls,
        value: ArrayLike,
        on: ArrayLike,
        *,
        gate: Gate | None = None,
        tokens: tuple[str, ...] | None = None,
        site: str = DEFAULT_SITE,
    ) -> Self:
        """From `value` [B or 1, L, D] and `on` [L].

        Raises:
            UserError: a shape does not fit, or a value is not finite.
        """
        value, on = np.asarray(value, np.float32), np.asarray(on, np.float32)
        if value.ndim != 3 or on.shape != value.shape[1:2]:
            raise UserError(
                "replace needs value [batch or 1, layers, width] and on [layers], not "
                f"{value.shape} and {on.shape}"
            )
        if not np.isfinite(value).all():
            raise UserError("the activations to put in must be finite")
        place, role = split_site(site)
        return cls(
            value=jnp.asarray(value),
            on=jnp.asarray(on),
            gate=gate or AlwaysOpen(),
            tokens=role_mask(tokens or (role,)),
            site=place,
        )

    @property
    def extent(self) -> tuple[int | None, int, int]:
        """Examples (None where one value is for all), layers and width."""
        batch, layers, width = self.value.shape
        return None if batch == 1 else batch, layers, width

    def layered(self) -> tuple[Float[Array, "L #B D"], Float[Array, "L"]]:
        """Values and switches of every layer."""
        return self.value.swapaxes(0, 1), self.on

    def active(self, part: tuple[Float[Array, "#B D"], Float[Array, ""]]) -> Bool[Array, ""]:
        """Where it is on."""
        return part[1] != 0

    def edit(
        self,
        x: Float[Array, "B T D"],
        part: tuple[Float[Array, "#B D"], Float[Array, ""]],
        opened: Float[Array, "B #V"],
        alarmed: Float[Array, "B"],
        risk: Float[Array, "B M"],
        token_role: Float[Array, "B T R"],
    ) -> Edited:
        """Moves to this layer's value."""
        value, on = part
        share = (on * alarmed)[:, None, None]
        # Where all of it goes, the value itself: x + (value - x) rounds.
        moved = jnp.where(share == 1, value[:, None], x + share * (value[:, None] - x))
        return Edited(moved, share[:, 0, 0] != 0)
