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

    Risk is the probability of each signed motion, or `UNREAD` for all before it is forecast.
    """

    def opened(self, risk: Float[Array, "B M"]) -> Float[Array, "B #V"]:
        """How far each direction of an operator may act: 0 closed, 1 open."""
        ...

    def alarmed(self, risk: Float[Array, "B M"]) -> Float[Array, "B"]:
        """The same for what has no directions: opened by danger of any kind."""
        ...

    def listens_to_risk(self) -> bool:
        """Whether it acts otherwise under some risk; asked on the host, before the forward."""
        return True

    def check(self, *, batch: int, motions: int) -> None:
        """Raises UserError where its arrays are for another batch or number of signed motions."""


@struct.dataclass
class AlwaysOpen(Gate):
    """Lets everything pass, at every layer."""

    def opened(self, risk: Float[Array, "B M"]) -> Float[Array, "B #V"]:
        """Ones [B, 1]."""
        return jnp.ones((len(risk), 1), jnp.float32)

    def alarmed(self, risk: Float[Array, "B M"]) -> Float[Array, "B"]:
        """Ones [B]."""
        return jnp.ones(len(risk), jnp.float32)

    def listens_to_risk(self) -> bool:
        """Never."""
        return False


@struct.dataclass
class ThresholdGate(Gate):
    """A direction opens when a signed motion it listens to is above its threshold, float32.

    A threshold of -inf is open from the first layer on, +inf never; a finite one is closed before
    the risk is read.
    """

    threshold: Float[Array, "B M"]
    listens: Float[Array, "V M"]  # 1 where a motion's risk may open the direction

    @classmethod
    def of(cls, threshold: ArrayLike, listens: ArrayLike, batch: int) -> Self:
        """`threshold` broadcasts to [batch, M], with M from `listens` [V, M]."""
        heard = np.asarray(listens, np.float32)
        levels = np.asarray(threshold, np.float32)
        try:
            levels = np.broadcast_to(levels, (batch, heard.shape[-1]))
        except (ValueError, IndexError):
            raise UserError(
                f"a threshold is one number or [batch, signed motions], not {levels.shape} for a "
                f"batch of {batch} and gates {heard.shape}"
            ) from None
        if np.isnan(levels).any():
            raise UserError("a threshold is a number, -inf (always open) or inf (never), not NaN")
        return cls(threshold=jnp.asarray(levels), listens=jnp.asarray(heard))

    def opened(self, risk: Float[Array, "B M"]) -> Float[Array, "B #V"]:
        """1 where any motion listened to is above its threshold."""
        alarm = (risk > self.threshold).astype(jnp.float32)
        return (jnp.einsum("bm,vm->bv", alarm, self.listens) > 0).astype(jnp.float32)

    def alarmed(self, risk: Float[Array, "B M"]) -> Float[Array, "B"]:
        """1 where any motion is above its threshold, listened to or not."""
        return (risk > self.threshold).any(axis=-1).astype(jnp.float32)

    def listens_to_risk(self) -> bool:
        """Where any threshold is finite."""
        return is_concrete(self.threshold) and bool(np.isfinite(self.threshold).any())

    def check(self, *, batch: int, motions: int) -> None:
        """Raises UserError where its arrays are for another batch or number of signed motions."""
        if self.threshold.shape != (batch, motions) or self.listens.shape[-1] != motions:
            raise UserError(
                f"the gate is for {self.threshold.shape[0]} examples of "
                f"{self.threshold.shape[-1]} signed motions; this batch has {batch} of "
                f"{motions}"
            )


def is_concrete(array: Any) -> bool:
    """Whether the values can be looked at: not under a trace."""
    return not isinstance(array, Tracer)
