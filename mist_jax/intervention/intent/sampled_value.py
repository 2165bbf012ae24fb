"""The best of changes that were drawn for the query, by the value learnt from counterfactuals."""

from typing import Self

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import ACTION_DIMENSIONS, Array, Float
from mist_jax.errors import UserError
from mist_jax.intervention.finite import finite
from mist_jax.intervention.intent.action_value import ActionValue
from mist_jax.intervention.intent.intent import ActionIntent

SAMPLES = 64  # changes a query


@struct.dataclass
class SampledValue(ActionIntent):
    """Each example's own candidate of least `value.cost`, where it beats standing pat, else zero.

    By more than the value's margin, as `ActionValue` does with its own candidates.
    """

    value: ActionValue
    candidates: Float[Array, "B candidates A"]  # executed units a control step

    @classmethod
    def of(cls, value: ActionValue, candidates: ArrayLike) -> Self:
        """From the fitted value and changes [B, candidates, A].

        Raises:
            UserError: another shape, or a value that is not finite.
        """
        drawn = finite("candidates", candidates, ("batch", "candidates", "action dimensions"))
        if drawn.shape[1] == 0 or drawn.shape[2] != len(ACTION_DIMENSIONS):
            raise UserError(
                f"candidates are [batch, 1 or more, {len(ACTION_DIMENSIONS)}], not {drawn.shape}"
            )
        return cls(value, drawn)

    @property
    def examples(self) -> int | None:
        """Those of the candidates."""
        return len(self.candidates)

    def wanted(
        self,
        features: Float[Array, "B features"],
        opened: Float[Array, "B #V"],
        risk: Float[Array, "B M"],
    ) -> Float[Array, "B A"]:
        """The best candidate or nothing; the gate decides when it is asked, not what it says."""

        def cost(own: Array, changes: Array) -> Array:
            return self.value.cost(own[None], changes)[0]

        still = jnp.zeros((1, len(ACTION_DIMENSIONS)))
        gain = self.value.cost(features, still) - jax.vmap(cost)(features, self.candidates)
        best = jnp.take_along_axis(self.candidates, gain.argmax(-1)[:, None, None], axis=1)[:, 0]
        return jnp.where(gain.max(axis=-1, keepdims=True) > self.value.margin, best, 0.0)
