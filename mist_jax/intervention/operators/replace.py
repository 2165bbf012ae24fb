"""Activation patching: tokens get the activations of another run."""

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
from mist_jax.intervention.tokens import chosen_tokens, role_mask, spread, token_order


@struct.dataclass
class Replace(Operator):
    """Sets the chosen tokens to `value` at the layers that are `on`. Float32.

    With S of 1 every chosen token gets the same; else the s-th chosen token of an example gets the
    s-th value, in the order of the sequence, and those beyond the last are left as they are. A gate
    that opens in part goes that part of the way.
    """

    value: Float[Array, "#B L S D"]
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
        """From `value` and `on` [L].

        `value` is what a prediction gave of `site`: [B or 1, L, D] by the mean, so that every
        chosen token gets it, or [B or 1, L, S, D] of single tokens, each its own.

        Raises:
            UserError: a shape does not fit, or a value is not finite.
        """
        value, on = np.asarray(value, np.float32), np.asarray(on, np.float32)
        if value.ndim not in (3, 4) or on.shape != value.shape[1:2]:
            raise UserError(
                "replace needs value [batch or 1, layers, width], or [batch or 1, layers, tokens, "
                f"width], and on [layers], not {value.shape} and {on.shape}"
            )
        if not np.isfinite(value).all():
            raise UserError("the activations to put in must be finite")
        place, role = split_site(site)
        return cls(
            value=jnp.asarray(value if value.ndim == 4 else value[:, :, None]),
            on=jnp.asarray(on),
            gate=gate or AlwaysOpen(),
            tokens=role_mask(tokens or (role,)),
            site=place,
        )

    @property
    def extent(self) -> tuple[int | None, int, int]:
        """Examples (None where one value is for all), layers and width."""
        batch, layers, _, width = self.value.shape
        return None if batch == 1 else batch, layers, width

    def layered(self) -> tuple[Float[Array, "L #B S D"], Float[Array, "L"]]:
        """Values and switches of every layer."""
        return self.value.swapaxes(0, 1), self.on

    def active(self, part: tuple[Float[Array, "#B S D"], Float[Array, ""]]) -> Bool[Array, ""]:
        """Where it is on."""
        return part[1] != 0

    def edit(
        self,
        x: Float[Array, "B T D"],
        part: tuple[Float[Array, "#B S D"], Float[Array, ""]],
        opened: Float[Array, "B #V"],
        alarmed: Float[Array, "B"],
        risk: Float[Array, "B M"],
        token_role: Float[Array, "B T R"],
    ) -> Edited:
        """Moves to this layer's value."""
        value, on = part
        count = value.shape[1]
        chosen = chosen_tokens(token_role, self.tokens)
        own = spread(jnp.broadcast_to(value, (len(x), *value.shape[1:])), chosen)
        if count > 1:
            own = jnp.where((token_order(chosen, count) >= 0)[..., None], own, x)
        share = (on * alarmed)[:, None, None]
        # Where all of it goes, the value itself: x + (value - x) rounds.
        moved = jnp.where(share == 1, own, x + share * (own - x))
        return Edited(moved, share[:, 0, 0] != 0)
