"""What costs least: the value of small changes of the action, learnt from counterfactuals."""

from collections.abc import Mapping
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import ACTION_DIMENSIONS, Array, Float
from mist_jax.errors import UserError
from mist_jax.intervention.features import Projection
from mist_jax.intervention.finite import finite
from mist_jax.intervention.intent.intent import ActionIntent


@struct.dataclass
class OutcomeModel:
    """logit P(outcome | h, a) = bias + main . z + phi(a) . (offset + z . interaction).

    phi(a) = [a / size, (a / size)^2] with the size of the value it is part of; float32.
    """

    bias: Float[Array, ""]
    main: Float[Array, "k"]
    offset: Float[Array, "terms"]
    interaction: Float[Array, "k terms"]

    @classmethod
    def of(
        cls, bias: ArrayLike, main: ArrayLike, offset: ArrayLike, interaction: ArrayLike
    ) -> Self:
        """From a number, [k], [2 A] and [k, 2 A].

        Raises:
            UserError: the shapes do not fit, or a value is not finite.
        """
        slopes, plain = finite("main", main, ("k",)), finite("offset", offset, ("terms",))
        each = finite("interaction", interaction, ("k", "terms"))
        if each.shape != (len(slopes), len(plain)) or len(plain) != 2 * len(ACTION_DIMENSIONS):
            raise UserError(
                f"an outcome needs main [k], offset [{2 * len(ACTION_DIMENSIONS)}] and interaction "
                f"of both, not {slopes.shape}, {plain.shape} and {each.shape}"
            )
        return cls(finite("bias", bias, ()), slopes, plain, each)

    def probability(
        self, z: Float[Array, "B k"], terms: Float[Array, "candidates terms"]
    ) -> Float[Array, "B candidates"]:
        """Of every candidate in every example."""
        effect = (self.offset + z @ self.interaction) @ terms.T
        return jax.nn.sigmoid((self.bias + z @ self.main)[:, None] + effect)


@struct.dataclass
class ActionValue(ActionIntent):
    """The candidate of least cost where it beats standing pat by more than `margin`, else zero.

    cost(h, a) = P(harm) + weight * (1 - P(success)) + price * |a / size|^2. A negative margin acts
    also where that costs more (a placebo may have to, to act as often as what it stands beside).
    """

    projection: Projection
    candidates: Float[Array, "candidates A"]  # executed units a control step, none of them zero
    size: Float[Array, "A"]
    harm: OutcomeModel
    success: OutcomeModel
    price: Float[Array, ""]
    weight: Float[Array, ""]
    margin: Float[Array, ""]

    @classmethod
    def of(
        cls,
        projection: Projection,
        candidates: ArrayLike,
        size: ArrayLike,
        harm: OutcomeModel,
        success: OutcomeModel,
        *,
        price: float,
        weight: float,
        margin: float,
    ) -> Self:
        """From `candidates` [candidates, A] and `size` [A].

        Raises:
            UserError: a shape does not fit, a value is not finite, a size is not positive, or a
                candidate is zero.
        """
        tried = finite("candidates", candidates, ("candidates", "action dimensions"))
        scale = finite("size", size, ("action dimensions",))
        dims, kept = len(ACTION_DIMENSIONS), len(projection.scale)
        if tried.shape[1] != dims or len(tried) == 0 or scale.shape != (dims,):
            raise UserError(
                f"an action value needs candidates [candidates, {dims}] and size [{dims}], not "
                f"{tried.shape} and {scale.shape}"
            )
        if (np.asarray(scale) <= 0).any() or not np.asarray(tried).any(axis=1).all():
            raise UserError("sizes must be positive, and zero is no candidate: it is stood against")
        for name, outcome in (("harm", harm), ("success", success)):
            if len(outcome.main) != kept:
                raise UserError(f"{name} is of {len(outcome.main)} features, projected are {kept}")
        numbers: Mapping[str, float] = {"price": price, "weight": weight, "margin": margin}
        return cls(
            projection=projection,
            candidates=tried,
            size=scale,
            harm=harm,
            success=success,
            **{name: finite(name, value, ()) for name, value in numbers.items()},
        )

    def cost(
        self, features: Float[Array, "B features"], changes: Float[Array, "candidates A"]
    ) -> Float[Array, "B candidates"]:
        """Of any changes of the action, executed units a control step."""
        relative = changes / self.size
        terms = jnp.concatenate([relative, relative**2], axis=-1)
        z = self.projection(features)
        failed = 1 - self.success.probability(z, terms)
        harm = self.harm.probability(z, terms)
        return harm + self.weight * failed + self.price * (relative**2).sum(-1)

    def scores(self, features: Float[Array, "B features"]) -> Float[Array, "B candidates"]:
        """What each candidate costs less than standing pat; the largest is the best one."""
        still = self.cost(features, jnp.zeros((1, len(ACTION_DIMENSIONS))))
        return still - self.cost(features, self.candidates)

    def wanted(
        self,
        features: Float[Array, "B features"],
        opened: Float[Array, "B #V"],
        risk: Float[Array, "B M"],
    ) -> Float[Array, "B A"]:
        """The best candidate or nothing; the gate decides when it is asked, not what it says."""
        gain = self.scores(features)
        best = self.candidates[gain.argmax(axis=-1)]
        return jnp.where(gain.max(axis=-1, keepdims=True) > self.margin, best, 0.0)
