"""A push for every chosen token, or one for all: what effects on the action are measured by."""

from typing import Self

from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import Array, Bool, Float
from mist_jax.intervention.finite import finite
from mist_jax.intervention.gate import AlwaysOpen, Gate
from mist_jax.intervention.operator import Edited, Operator
from mist_jax.intervention.site import DEFAULT_SITE, split_site
from mist_jax.intervention.tokens import chosen_tokens, role_mask, spread


@struct.dataclass
class Push(Operator):
    """h[t] <- h[t] + push[s(t)] at the layers that are `on`. Float32.

    With S of 1 every chosen token gets the same; else the s-th chosen token of an example gets the
    s-th push, in the order of the sequence (action tokens are step-major). A gate that opens in
    part lets that part through.
    """

    push: Float[Array, "B S D"]
    on: Float[Array, "L"]  # 1 at the layers that are pushed
    gate: Gate
    tokens: Float[Array, "R"]
    site: str = struct.field(pytree_node=False, default=DEFAULT_SITE)

    @classmethod
    def of(
        cls,
        push: ArrayLike,
        on: ArrayLike,
        *,
        gate: Gate | None = None,
        tokens: tuple[str, ...] | None = None,
        site: str = DEFAULT_SITE,
    ) -> Self:
        """From `push` [B, S, D] and `on` [L].

        Raises:
            UserError: a shape does not fit, or a value is not finite.
        """
        place, role = split_site(site)
        return cls(
            push=finite("a push", push, ("batch", "tokens", "width")),
            on=finite("the layers pushed", on, ("layers",)),
            gate=gate or AlwaysOpen(),
            tokens=role_mask(tokens or (role,)),
            site=place,
        )

    @property
    def extent(self) -> tuple[int | None, int, int]:
        """Examples, layers and width."""
        return len(self.push), len(self.on), self.push.shape[-1]

    def layered(self) -> Float[Array, "L"]:
        """The switches of every layer."""
        return self.on

    def active(self, part: Float[Array, ""]) -> Bool[Array, ""]:
        """Where it is on."""
        return part != 0

    def edit(
        self,
        x: Float[Array, "B T D"],
        part: Float[Array, ""],
        opened: Float[Array, "B #V"],
        alarmed: Float[Array, "B"],
        risk: Float[Array, "B M"],
        token_role: Float[Array, "B T R"],
    ) -> Edited:
        """Adds each token's push."""
        push = self.push * (part * alarmed)[:, None, None]
        added = spread(push, chosen_tokens(token_role, self.tokens))
        return Edited(x + added, (push != 0).any((-2, -1)))
