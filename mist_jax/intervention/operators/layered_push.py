"""A push of its own for every layer and token: what attribution patching differentiates by."""

from typing import Self

from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import Array, Float
from mist_jax.intervention.finite import finite
from mist_jax.intervention.gate import AlwaysOpen, Gate
from mist_jax.intervention.operator import Edited, Operator
from mist_jax.intervention.site import DEFAULT_SITE, split_site
from mist_jax.intervention.tokens import chosen_tokens, role_mask, spread


@struct.dataclass
class LayeredPush(Operator):
    """h[l, t] <- h[l, t] + push[l, s(t)] at every layer. Float32.

    As `Push`, whose one push is the same at every layer that is on: with S of 1 every chosen token
    gets the same, else the s-th chosen token of an example gets the s-th push.
    """

    push: Float[Array, "B L S D"]
    gate: Gate
    tokens: Float[Array, "R"]
    site: str = struct.field(pytree_node=False, default=DEFAULT_SITE)

    @classmethod
    def of(
        cls,
        push: ArrayLike,
        *,
        gate: Gate | None = None,
        tokens: tuple[str, ...] | None = None,
        site: str = DEFAULT_SITE,
    ) -> Self:
        """From `push` [B, L, S, D].

        Raises:
            UserError: a shape does not fit, or a value is not finite.
        """
        place, role = split_site(site)
        return cls(
            push=finite("a layered push", push, ("batch", "layers", "tokens", "width")),
            gate=gate or AlwaysOpen(),
            tokens=role_mask(tokens or (role,)),
            site=place,
        )

    @property
    def extent(self) -> tuple[int | None, int, int]:
        """Examples, layers and width."""
        batch, layers, _, width = self.push.shape
        return batch, layers, width

    def layered(self) -> Float[Array, "L B S D"]:
        """The pushes of every layer."""
        return self.push.swapaxes(0, 1)

    def edit(
        self,
        x: Float[Array, "B T D"],
        part: Float[Array, "B S D"],
        opened: Float[Array, "B #V"],
        alarmed: Float[Array, "B"],
        risk: Float[Array, "B M"],
        token_role: Float[Array, "B T R"],
    ) -> Edited:
        """Adds each token's push of this layer."""
        push = part * alarmed[:, None, None]
        added = spread(push, chosen_tokens(token_role, self.tokens))
        return Edited(x + added, (push != 0).any((-2, -1)))
