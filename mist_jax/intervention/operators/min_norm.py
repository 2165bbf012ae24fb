"""The smallest push that changes the action by what is wanted, by the action's Jacobian."""

from typing import Self

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import Array, Bool, Float
from mist_jax.errors import UserError
from mist_jax.intervention.gate import AlwaysOpen, Gate
from mist_jax.intervention.operator import Operator
from mist_jax.intervention.site import DEFAULT_SITE, split_site
from mist_jax.intervention.tokens import role_mask


@struct.dataclass
class MinNorm(Operator):
    """h <- h + J^T (J J^T + damping I)^-1 da at the layers that are `on`. Float32.

    `jacobian[l]` says how the action changes with a push at layer l that all chosen tokens get;
    `wanted` is da, in the action's units. A direction of the gate is an action dimension: what is
    not open is not wanted. With more than one layer on, each pushes for all of da.
    """

    jacobian: Float[Array, "L A D"]
    wanted: Float[Array, "B A"]
    on: Float[Array, "L"]  # 1 at the layers that push
    damping: Float[Array, ""]  # in the units of J J^T
    gate: Gate
    tokens: Float[Array, "R"]
    site: str = struct.field(pytree_node=False, default=DEFAULT_SITE)

    @classmethod
    def of(
        cls,
        jacobian: ArrayLike,
        wanted: ArrayLike,
        on: ArrayLike,
        *,
        damping: float = 1e-6,
        gate: Gate | None = None,
        tokens: tuple[str, ...] | None = None,
        site: str = DEFAULT_SITE,
    ) -> Self:
        """From `jacobian` [L, A, D], `wanted` [B, A] and `on` [L].

        Raises:
            UserError: a shape does not fit, a value is not finite, or damping is not positive.
        """
        jacobian, wanted = np.asarray(jacobian, np.float32), np.asarray(wanted, np.float32)
        on = np.asarray(on, np.float32)
        if (
            jacobian.ndim != 3
            or wanted.ndim != 2
            or wanted.shape[1] != jacobian.shape[1]
            or on.shape != jacobian.shape[:1]
        ):
            raise UserError(
                "min_norm needs jacobian [layers, action dimensions, width], wanted [batch, action "
                f"dimensions] and on [layers], not {jacobian.shape}, {wanted.shape} and {on.shape}"
            )
        if not (np.isfinite(jacobian).all() and np.isfinite(wanted).all()):
            raise UserError("the jacobian and the wanted change must be finite")
        if not 0 < damping < np.inf:
            raise UserError(f"damping must be positive, not {damping}")
        place, role = split_site(site)
        return cls(
            jacobian=jnp.asarray(jacobian),
            wanted=jnp.asarray(wanted),
            on=jnp.asarray(on),
            damping=jnp.asarray(damping, jnp.float32),
            gate=gate or AlwaysOpen(),
            tokens=role_mask(tokens or (role,)),
            site=place,
        )

    @property
    def extent(self) -> tuple[int | None, int, int]:
        """Examples, layers and width."""
        return len(self.wanted), len(self.jacobian), self.jacobian.shape[-1]

    def layered(self) -> Float[Array, "L A D"]:
        """(J J^T + damping I)^-1 J of every layer that is on, zero at the others."""
        square = jnp.einsum("lad,lcd->lac", self.jacobian, self.jacobian)
        damped = square + self.damping * jnp.eye(square.shape[-1])
        return jnp.linalg.solve(damped, self.jacobian) * self.on[:, None, None]

    def edit(
        self,
        x: Float[Array, "B T D"],
        part: Float[Array, "A D"],
        opened: Float[Array, "B #V"],
        alarmed: Float[Array, "B"],
    ) -> tuple[Float[Array, "B T D"], Bool[Array, "B"]]:
        """Adds this layer's push."""
        push = jnp.einsum("ba,ad->bd", self.wanted * opened, part)
        return x + push[:, None], (push != 0).any(-1)
