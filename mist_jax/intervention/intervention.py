"""What one forward reads and writes: a risk reader, and operators that act under their gates.

An architecture calls `unread` before its first layer, `edit` at every steerable place of a layer,
`read` at the layer's end (or `read_stack` for sites outside the language model) and `reported` for
its outputs. Risk is read at one layer and opens the gates of later ones in the same pass.
"""

from collections.abc import Callable, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import struct

from mist_jax.axes import Array, Float, Int
from mist_jax.intervention.gate import UNREAD
from mist_jax.intervention.operator import Operator, edit_activations
from mist_jax.intervention.reader import RiskReader


@struct.dataclass
class Intervention:
    """A pytree; what is not there (no reader, no operator at a place) costs nothing."""

    risk_head: RiskReader | None
    operators: tuple[Operator, ...] = ()

    @classmethod
    def of(cls, risk_head: RiskReader | None, *operators: Operator) -> Self:
        """With every array's dtype made definite: a weakly typed one would retrace the forward."""
        return jax.tree.map(
            lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), cls(risk_head, operators)
        )

    @property
    def steers(self) -> bool:
        """Whether anything may change activations."""
        return bool(self.operators)

    @property
    def reads(self) -> str | None:
        """The site that risk is read at."""
        return None if self.risk_head is None else self.risk_head.site

    def layered(self) -> tuple[Any, ...]:
        """What the operators need at each layer, every leaf [L, ...]: the inputs of a scan."""
        return tuple(operator.layered() for operator in self.operators)

    def unread(self, batch: int, dimensions: int) -> Float[Array, "B A"]:
        """Risk before it is read: only gates that are always open let steering act."""
        return jnp.full((batch, dimensions), UNREAD, jnp.float32)

    def edit(
        self,
        place: str,
        hidden: Float[Array, "B T D"],
        parts: Sequence[Any],
        risk: Float[Array, "B A"],
        token_role: Float[Array, "B T R"],
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B"] | float]:
        """A place's activations after its operators, and by how much they moved."""
        pairs = zip(self.operators, parts, strict=True)
        here = [(operator, part) for operator, part in pairs if operator.site == place]
        return edit_activations(hidden, here, risk, token_role) if here else (hidden, 0.0)

    def read(
        self,
        site: str,
        layer: Int[Array, ""],
        activation: Callable[[], Float[Array, "B D"]],
        risk: Float[Array, "B A"],
    ) -> Float[Array, "B A"]:
        """The risk from here on: the reader's, at its own layer of its own site."""
        reader = self.risk_head
        if reader is None or reader.site != site:
            return risk
        return jax.lax.cond(
            layer == reader.layer, lambda: reader.probability(activation()), lambda: risk
        )

    def read_stack(
        self, site: str, layers: Float[Array, "B L D"], risk: Float[Array, "B A"]
    ) -> Float[Array, "B A"]:
        """`read` where all layers of a site are there at once."""
        reader = self.risk_head
        if reader is None or reader.site != site:
            return risk
        count = layers.shape[1]
        chosen = jnp.take(layers, jnp.clip(reader.layer, 0, count - 1), axis=1)
        there = (reader.layer >= 0) & (reader.layer < count)
        return jnp.where(there, reader.probability(chosen), risk)

    def reported(self, risk: Float[Array, "B A"]) -> Float[Array, "B A"] | None:
        """Risk for the outputs: zero where none was read, None where nobody reads."""
        return None if self.risk_head is None else jnp.where(risk == UNREAD, 0.0, risk)


NO_INTERVENTION = Intervention(None)
