"""Conceptors: activations are drawn into the ellipsoid of the states that one wants.

Jaeger (arXiv 1403.3369); for steering: Postmus & Abreu (arXiv 2410.16314), whose h <- C h is
`strength` 1 around a zero `centre`. Between 0 and 1 lies (1 - strength) I + strength C.
"""

from typing import Self

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import Array, Bool, Float, Int
from mist_jax.errors import UserError
from mist_jax.intervention.gate import AlwaysOpen, Gate
from mist_jax.intervention.operator import Edited, Operator
from mist_jax.intervention.site import DEFAULT_SITE, split_site
from mist_jax.intervention.tokens import chosen_tokens, role_mask


@struct.dataclass
class Conceptor(Operator):
    """h <- h + sum_v g[b, v] strength[b, v] (C[v, l] - I) (h - centre[v, l]). Float32.

    C = basis diag(kept) basis^T, of rank `rank`; off it, C is zero. Arrays are kept for the layers
    that are steered alone: `slot[l]` is layer l's place among them, -1 where nothing is done.

    With `pooled`, h in the change is the mean over the tokens acted on, and all of them move alike:
    for conceptors of pooled activations, which know nothing of how tokens differ and would wipe
    that out. Without, every token is projected by itself.
    """

    basis: Float[Array, "V steered D rank"]
    kept: Float[Array, "V steered rank"]
    centre: Float[Array, "V steered D"]
    slot: Int[Array, "L"]
    strength: Float[Array, "B V"]
    gate: Gate
    tokens: Float[Array, "R"]
    site: str = struct.field(pytree_node=False, default=DEFAULT_SITE)
    pooled: bool = struct.field(pytree_node=False, default=True)

    @classmethod
    def of(
        cls,
        basis: ArrayLike,
        kept: ArrayLike,
        centre: ArrayLike,
        strength: ArrayLike,
        *,
        steered: tuple[int, ...],
        layers: int,
        gate: Gate | None = None,
        tokens: tuple[str, ...] | None = None,
        site: str = DEFAULT_SITE,
        pooled: bool = True,
    ) -> Self:
        """From `basis` [V, steered, D, rank], `kept`, `centre` and `strength` [B, V].

        Args:
            basis: orthonormal columns (padded with zeros where `kept` is 0).
            kept: [V, steered, rank], how much of each is kept, 0 to 1.
            centre: [V, steered, D], around which the projection is.
            strength: how much of it an example gets, 0 to 1.
            steered: layers of the model, in the order of the arrays.
            layers: how many the model has.

        Raises:
            UserError: a shape does not fit, a value is not finite, or a layer is unknown or twice.
        """
        arrays = [np.asarray(one, np.float32) for one in (basis, kept, centre, strength)]
        basis, kept, centre, strength = arrays
        fits = basis.ndim == 4 and strength.ndim == 2 and strength.shape[1] == len(basis)
        if (
            not fits
            or kept.shape != (*basis.shape[:2], basis.shape[3])
            or centre.shape != basis.shape[:3]
        ):
            raise UserError(
                "a conceptor needs basis [directions, steered, width, rank], kept, centre and "
                f"strength [batch, directions], not {basis.shape}, {kept.shape}, {centre.shape} "
                f"and {strength.shape}"
            )
        if not all(np.isfinite(one).all() for one in arrays):
            raise UserError("a conceptor's arrays must be finite")
        known = all(0 <= layer < layers for layer in steered)
        if len(steered) != basis.shape[1] or len(set(steered)) != len(steered) or not known:
            raise UserError(
                f"a conceptor of {basis.shape[1]} layers needs as many different ones of 0 to "
                f"{layers - 1}, not {list(steered)}"
            )
        slot = np.full(layers, -1, np.int32)
        slot[list(steered)] = np.arange(len(steered))
        place, role = split_site(site)
        return cls(
            basis=jnp.asarray(basis),
            kept=jnp.asarray(kept),
            centre=jnp.asarray(centre),
            slot=jnp.asarray(slot),
            strength=jnp.asarray(strength),
            gate=gate or AlwaysOpen(),
            tokens=role_mask(tokens or (role,)),
            site=place,
            pooled=pooled,
        )

    @property
    def extent(self) -> tuple[int | None, int, int]:
        """Examples, layers and width."""
        return len(self.strength), len(self.slot), self.basis.shape[2]

    def layered(self) -> Int[Array, "L"]:
        """Which of the steered layers each is."""
        return self.slot

    def active(self, part: Int[Array, ""]) -> Bool[Array, ""]:
        """At the steered layers."""
        return part >= 0

    def edit(
        self,
        x: Float[Array, "B T D"],
        part: Int[Array, ""],
        opened: Float[Array, "B #V"],
        alarmed: Float[Array, "B"],
        risk: Float[Array, "B M"],
        token_role: Float[Array, "B T R"],
    ) -> Edited:
        """Draws this layer's activations into the ellipsoids."""
        strength = jnp.where(part >= 0, self.strength * opened, 0.0)
        seen = x
        if self.pooled:
            chosen = chosen_tokens(token_role, self.tokens).astype(jnp.float32)
            count = jnp.maximum(chosen.sum(-1), 1)[:, None]
            seen = (jnp.einsum("bt,btd->bd", chosen, x) / count)[:, None]
        moved = self._change(seen, jnp.maximum(part, 0), strength)
        return Edited(x + moved, (strength != 0).any(-1))

    def _change(
        self, seen: Float[Array, "B #T D"], slot: Int[Array, ""], strength: Float[Array, "B V"]
    ) -> Float[Array, "B #T D"]:
        """sum_v strength_v (C_v - I) (seen - centre_v) at one layer."""
        basis, kept, centre = self.basis[:, slot], self.kept[:, slot], self.centre[:, slot]
        weight = strength[:, :, None] * kept  # [B, V, rank]
        along = jnp.einsum("btd,vdn->btvn", seen, basis) - jnp.einsum("vd,vdn->vn", centre, basis)
        drawn = jnp.einsum("btvn,bvn,vdn->btd", along, weight, basis)
        away = strength.sum(-1)[:, None, None] * seen - (strength @ centre)[:, None]
        return drawn - away
