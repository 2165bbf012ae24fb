"""Another intent, and no more of what the policy itself does the other way."""

from typing import Self

import jax.numpy as jnp
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import ACTION_DIMENSIONS, Array, Float
from mist_jax.intervention.features import Projection
from mist_jax.intervention.finite import finite
from mist_jax.intervention.intent.intent import ActionIntent
from mist_jax.intervention.intent.readout import readout

BLOCKS = (slice(0, 3), slice(3, 6))  # translation and rotation; the gripper goes on


@struct.dataclass
class OwnMotion:
    """What the policy is about to command: z @ weights + bias, the mean of the chunk, executed."""

    projection: Projection
    weights: Float[Array, "k A"]
    bias: Float[Array, "A"]

    @classmethod
    def of(cls, projection: Projection, weights: ArrayLike, bias: ArrayLike) -> Self:
        """From [k, A] and [A].

        Raises:
            UserError: another shape, or a value that is not finite.
        """
        numbers = len(ACTION_DIMENSIONS)
        return cls(projection, *readout("a motion", projection, weights, bias, numbers))

    def __call__(self, features: Float[Array, "B features"]) -> Float[Array, "B A"]:
        """Of each example, in executed units a control step."""
        return self.projection(features) @ self.weights + self.bias


@struct.dataclass
class Braked(ActionIntent):
    """w + share * max(0, -(own . u)) u - halt * (own - (own . u) u), with u = w / |w|.

    Of translation and of rotation apart; one in which nothing is wanted goes on. w is what `base`
    wants and `own` the policy's motion: with share 1 the approach is stopped first, and then comes
    the push off; with halt 1 as well nothing but the push off is left.
    """

    base: ActionIntent
    own: OwnMotion
    share: Float[Array, ""]
    halt: Float[Array, ""]

    @classmethod
    def of(
        cls, base: ActionIntent, own: OwnMotion, share: ArrayLike, halt: ArrayLike = 0.0
    ) -> Self:
        """From an intent, the policy's own motion, and the shares of it that are taken away.

        `share` is of what goes against the intent, `halt` of what goes across it.

        Raises:
            UserError: a share is not finite.
        """
        shares = [finite("a share that is taken away", one, ()) for one in (share, halt)]
        return cls(base, own, *shares)

    @property
    def examples(self) -> int | None:
        """Those of the intent within."""
        return self.base.examples

    def wanted(
        self,
        features: Float[Array, "B features"],
        opened: Float[Array, "B #V"],
        risk: Float[Array, "B M"],
    ) -> Float[Array, "B A"]:
        """What the intent within wants, and the rest of the policy's motion against it away."""
        base = self.base.wanted(features, opened, risk)
        own = self.own(features)
        result = base
        for block in BLOCKS:
            way = base[:, block]
            norm = jnp.linalg.norm(way, axis=-1, keepdims=True)
            unit = jnp.where(norm > 0, way / jnp.where(norm > 0, norm, 1), 0.0)
            along = (own[:, block] * unit).sum(-1, keepdims=True)
            across = jnp.where(norm > 0, own[:, block] - along * unit, 0.0)
            away = self.share * jnp.maximum(-along, 0.0) * unit - self.halt * across
            result = result.at[:, block].add(away)
        return result
