"""Ablation of directions: a fraction of the component along each is taken away."""

from typing import Self

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import Array, Float
from mist_jax.errors import UserError
from mist_jax.intervention.gate import AlwaysOpen, Gate
from mist_jax.intervention.operator import Edited, Operator
from mist_jax.intervention.site import DEFAULT_SITE, split_site
from mist_jax.intervention.tokens import role_mask


@struct.dataclass
class Project(Operator):
    """h <- h - sum_v g[b, v] * fraction[b, v] * (h . u[v, l]) u[v, l]. Float32.

    Directions have norm 1, or 0 at layers that are left alone; those of one layer are taken as
    orthogonal, else what they share is taken away more than once.
    """

    directions: Float[Array, "V L D"]
    fraction: Float[Array, "B V"]
    gate: Gate
    tokens: Float[Array, "R"]
    site: str = struct.field(pytree_node=False, default=DEFAULT_SITE)

    @classmethod
    def of(
        cls,
        directions: ArrayLike,
        fraction: ArrayLike,
        *,
        gate: Gate | None = None,
        tokens: tuple[str, ...] | None = None,
        site: str = DEFAULT_SITE,
    ) -> Self:
        """From `directions` [V, L, D] of any length (brought to norm 1) and `fraction` [B, V].

        Raises:
            UserError: a shape does not fit, or a value is not finite.
        """
        directions, fraction = np.asarray(directions, np.float32), np.asarray(fraction, np.float32)
        if directions.ndim != 3 or fraction.ndim != 2 or fraction.shape[1] != len(directions):
            raise UserError(
                "project needs directions [directions, layers, width] and fraction "
                f"[batch, directions], not {directions.shape} and {fraction.shape}"
            )
        if not (np.isfinite(directions).all() and np.isfinite(fraction).all()):
            raise UserError("directions and fractions must be finite")
        norm = np.linalg.norm(directions, axis=-1, keepdims=True)
        place, role = split_site(site)
        return cls(
            directions=jnp.asarray(directions / np.where(norm > 0, norm, 1)),
            fraction=jnp.asarray(fraction),
            gate=gate or AlwaysOpen(),
            tokens=role_mask(tokens or (role,)),
            site=place,
        )

    @property
    def extent(self) -> tuple[int | None, int, int]:
        """Examples, layers and width."""
        _, layers, width = self.directions.shape
        return len(self.fraction), layers, width

    def layered(self) -> Float[Array, "L V D"]:
        """The directions of every layer."""
        return self.directions.swapaxes(0, 1)

    def edit(
        self,
        x: Float[Array, "B T D"],
        part: Float[Array, "V D"],
        opened: Float[Array, "B #V"],
        alarmed: Float[Array, "B"],
        risk: Float[Array, "B M"],
        token_role: Float[Array, "B T R"],
    ) -> Edited:
        """Takes this layer's components away."""
        fraction = self.fraction * opened
        along = jnp.einsum("btd,vd->btv", x, part) * fraction[:, None]
        present = (part != 0).any(-1)
        acts = ((fraction != 0) & present).any(-1)
        return Edited(x - jnp.einsum("btv,vd->btd", along, part), acts)
