"""Gates: which risk opens which push.

A gate is the rule; `prediction.gate` is the record of how far it let steering act.
"""

from typing import Any, Protocol, Self

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer
from jaxtyping import ArrayLike

from mist_jax.axes import Array, Float
from mist_jax.errors import UserError

UNREAD = float(np.finfo(np.float32).min)
"""What risk counts as before it is read: below every finite threshold, above -inf."""


class Gate(Protocol):
    """A pytree of arrays, evaluated at every layer on the risk read so far.

    Risk is a probability, or `UNREAD` in every dimension before the layer it is read at.
    """

    def opened(self, risk: Float[Array, "B A"]) -> Float[Array, "B #V"]:
        """How far each direction of an operator may act: 0 closed, 1 open."""
        ...

    def alarmed(self, risk: Float[Array, "B A"]) -> Float[Array, "B"]:
        """The same for what has no directions: opened by danger of any kind."""
        ...

    def listens_to_risk(self) -> bool:
        """Whether it acts otherwise under some risk; asked on the host, before the forward."""
        return True

    def check(self, *, batch: int, dimensions: int) -> None:
        """Raises UserError where its arrays are for another batch or number of dimensions."""


@struct.dataclass
class AlwaysOpen(Gate):
    """Lets everything pass, at every layer."""

    def opened(self, risk: Float[Array, "B A"]) -> Float[Array, "B #V"]:
        """Ones [B, 1]."""
        return jnp.ones((len(risk), 1), jnp.float32)

    def alarmed(self, risk: Float[Array, "B A"]) -> Float[Array, "B"]:
        """Ones [B]."""
        return jnp.ones(len(risk), jnp.float32)

    def listens_to_risk(self) -> bool:
        """Never."""
        return False


@struct.dataclass
class ThresholdGate(Gate):
    """A direction opens when a dimension it listens to is above its threshold, float32.

    A threshold of -inf is open from the first layer on, +inf never; a finite one is closed before
    the risk is read.
    """

    threshold: Float[Array, "B A"]
    listens: Float[Array, "V A"]  # 1 where a dimension's risk may open the direction

    @classmethod
    def of(cls, threshold: ArrayLike, listens: ArrayLike, batch: int) -> Self:
        """`threshold` broadcasts to [batch, A], with A from `listens` [V, A]."""
        heard = np.asarray(listens, np.float32)
        levels = np.asarray(threshold, np.float32)
        try:
            levels = np.broadcast_to(levels, (batch, heard.shape[-1]))
        except (ValueError, IndexError):
            raise UserError(
                f"a threshold is one number or [batch, dimensions], not {levels.shape} for a "
                f"batch of {batch} and gates {heard.shape}"
            ) from None
        if np.isnan(levels).any():
            raise UserError("a threshold is a number, -inf (always open) or inf (never), not NaN")
        return cls(threshold=jnp.asarray(levels), listens=jnp.asarray(heard))

    def opened(self, risk: Float[Array, "B A"]) -> Float[Array, "B #V"]:
        """1 where any dimension listened to is above its threshold."""
        alarm = (risk > self.threshold).astype(jnp.float32)
        return (jnp.einsum("ba,va->bv", alarm, self.listens) > 0).astype(jnp.float32)

    def alarmed(self, risk: Float[Array, "B A"]) -> Float[Array, "B"]:
        """1 where any dimension is above its threshold, listened to or not."""
        return (risk > self.threshold).any(axis=-1).astype(jnp.float32)

    def listens_to_risk(self) -> bool:
        """Where any threshold is finite."""
        return is_concrete(self.threshold) and bool(np.isfinite(self.threshold).any())

    def check(self, *, batch: int, dimensions: int) -> None:
        """Raises UserError where its arrays are for another batch or number of dimensions."""
        if self.threshold.shape != (batch, dimensions) or self.listens.shape[-1] != dimensions:
            raise UserError(
                f"the gate is for {self.threshold.shape[0]} examples of "
                f"{self.threshold.shape[-1]} action dimensions; this batch has {batch} of "
                f"{dimensions}"
            )


def is_concrete(array: Any) -> bool:
    """Whether the values can be looked at: not under a trace."""
    return not isinstance(array, Tracer)
