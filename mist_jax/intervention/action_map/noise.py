"""Pushes along noise, as large as moves the action as far as is wanted: a control of equal dose."""

from typing import Self

import jax.numpy as jnp
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import ACTION_DIMENSIONS, Array, Float
from mist_jax.errors import UserError
from mist_jax.intervention.action_map.least_norm import known_rows
from mist_jax.intervention.action_map.linear import LinearMap
from mist_jax.intervention.action_map.map import ActionMap
from mist_jax.intervention.action_map.table import TableMap
from mist_jax.intervention.finite import finite

_GRIPPER = ACTION_DIMENSIONS.index("gripper")


@struct.dataclass
class NoiseMap(ActionMap):
    """noise * |wanted| / |J noise|, norms over x to yaw; zero where J noise is zero.

    The gripper is left out: it is made binary, so that what it takes of a push realises nothing.
    """

    of_map: TableMap | LinearMap
    noise: Float[Array, "B S D"]

    @classmethod
    def of(cls, of_map: TableMap | LinearMap, noise: ArrayLike) -> Self:
        """The map whose Jacobian sets the dose, and noise [B, S, D] of any size.

        Raises:
            UserError: another shape, or a value that is not finite.
        """
        drawn = finite("noise", noise, ("batch", "tokens", "width"))
        examples, width = of_map.extent
        if drawn.shape[-1] != width or examples not in (None, len(drawn)):
            raise UserError(
                f"noise is [batch, tokens, width] for {examples or 'any'} examples of width "
                f"{width}, not {drawn.shape}"
            )
        return cls(of_map, drawn)

    @property
    def extent(self) -> tuple[int | None, int]:
        """Examples and width."""
        return len(self.noise), self.noise.shape[-1]

    def jacobian(self, features: Float[Array, "B features"]) -> Float[Array, "B A S D"]:
        """That of its map."""
        return self.of_map.jacobian(features)

    def push(
        self, features: Float[Array, "B features"], wanted: Float[Array, "B A"]
    ) -> Float[Array, "B S D"]:
        """The noise, brought to the size of what is wanted."""
        jacobian = known_rows(self.jacobian(features))
        moved = jnp.einsum("basd,bsd->ba", jacobian, self.noise)
        size = jnp.linalg.norm(moved[:, :_GRIPPER], axis=-1)
        dose = _length(wanted[:, :_GRIPPER])
        share = jnp.where(size > 0, dose / jnp.where(size > 0, size, 1), 0)
        return self.noise * share[:, None, None]


def _length(vector: Float[Array, "B A"]) -> Float[Array, "B"]:
    """The norm, with gradient 0 where there is none."""
    square = (vector**2).sum(-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
