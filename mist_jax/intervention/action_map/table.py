"""Jacobians from a table, one row per example: averages of tasks and phases, or exact ones."""

from typing import Self

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import Array, Float, Int
from mist_jax.errors import UserError
from mist_jax.intervention.action_map.damping import DAMPING, checked_damping
from mist_jax.intervention.action_map.least_norm import least_norm
from mist_jax.intervention.action_map.map import ActionMap


@struct.dataclass
class TableMap(ActionMap):
    """Least norm by row `row[b]` of the table. One row per example is the exact form."""

    table: Float[Array, "rows A S D"]
    row: Int[Array, "B"]
    damping: Float[Array, ""]  # relative: rows of a Jacobian are scaled to norm 1 first

    @classmethod
    def of(
        cls, table: ArrayLike, row: ArrayLike | None = None, *, damping: float = DAMPING
    ) -> Self:
        """From Jacobians [K, A, S, D] and rows [B]; None: example b has row b.

        Rows of a Jacobian that are zero or not finite push nothing.

        Raises:
            UserError: another shape, a row that is not there, or damping that is not positive.
        """
        jacobians = np.asarray(table, np.float32)
        if jacobians.ndim != 4:
            raise UserError(
                "a table of Jacobians is [rows, action dimensions, tokens, width], not "
                f"{jacobians.shape}"
            )
        rows = np.arange(len(jacobians)) if row is None else np.asarray(row)
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise UserError(f"a row per example is integers [batch], not {rows.dtype} {rows.shape}")
        absent = rows[(rows < 0) | (rows >= len(jacobians))]
        if absent.size:
            raise UserError(f"the table has rows 0 to {len(jacobians) - 1}, not {absent[0]}")
        return cls(jnp.asarray(jacobians), jnp.asarray(rows, jnp.int32), checked_damping(damping))

    @property
    def extent(self) -> tuple[int | None, int]:
        """Examples and width."""
        return len(self.row), self.table.shape[-1]

    def jacobian(self, features: Float[Array, "B features"]) -> Float[Array, "B A S D"]:
        """Each example's row."""
        return self.table[self.row]

    def push(
        self, features: Float[Array, "B features"], wanted: Float[Array, "B A"]
    ) -> Float[Array, "B S D"]:
        """The least push by each example's row."""
        return least_norm(self.jacobian(features), wanted, self.damping)
