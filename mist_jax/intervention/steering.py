"""Steering: directions that are added, and a share of the activation that is taken away.

At every layer l, for every token the mask selects,

    h <- h + sum_v g[b, v] * c[b, v] * u[v, l]  -  g_s[b] * s[b] * h

where u are the directions, c an example's coefficients, g the direction's gate and s the shrinkage
control. A gate opens when the calibrated risk of one of its signed motions, read in the same
forward pass, exceeds the threshold; it acts on later layers only. A token with nothing to add keeps
its bits.
"""

from typing import Self

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import SIGNED_MOTIONS, Array, Float
from mist_jax.errors import UserError
from mist_jax.intervention.gate import Gate, ThresholdGate
from mist_jax.intervention.operator import Edited, Operator
from mist_jax.intervention.site import DEFAULT_SITE, split_site
from mist_jax.intervention.tokens import role_mask


@struct.dataclass
class Steering(Operator):
    """What to add to the activations of `site`, for whom, where and when. Float32 throughout.

    `tokens` follows `TOKEN_ROLES`: which kinds of token are steered. At `llm.attn` and `llm.mlp`
    steering acts on what that part of a block adds to the residual stream.
    """

    vectors: Float[Array, "V L D"]
    coefficient: Float[Array, "B V"]
    shrink: Float[Array, "B"]
    gate: Gate
    tokens: Float[Array, "R"]
    site: str = struct.field(pytree_node=False, default=DEFAULT_SITE)

    @classmethod
    def off(cls, *, batch: int, layers: int, width: int, directions: int = 1) -> Self:
        """Steering that leaves every bit of the forward as it is."""
        return cls.of(np.zeros((directions, layers, width)), np.zeros((batch, directions)))

    @classmethod
    def of(
        cls,
        vectors: ArrayLike,
        coefficient: ArrayLike,
        *,
        gates: ArrayLike | None = None,
        threshold: ArrayLike = -np.inf,
        gate: Gate | None = None,
        shrink: ArrayLike = 0.0,
        tokens: tuple[str, ...] | None = None,
        site: str = DEFAULT_SITE,
    ) -> Self:
        """Steering from `vectors` [V, L, D] and `coefficient` [B, V]; the rest broadcasts.

        Args:
            vectors: a direction for each layer of the site.
            coefficient: how much of each direction an example gets.
            gates: [V, M], 1 where a signed motion's risk may open a direction; default all.
            threshold: [B, M], the risk above which a gate opens: -inf always, +inf never.
            gate: another rule than a threshold, in place of `gates` and `threshold`.
            shrink: [B], the share of the activation that an alarm of any motion takes away.
            tokens: roles of the tokens steered; default the site's (`llm.resid:image`), else the
                action tokens.
            site: of the model, as a bank's metadata name it.

        Raises:
            UserError: a shape does not fit, a value is not finite, or a token role is unknown.
        """
        vectors = np.asarray(vectors, np.float32)
        coefficient = np.asarray(coefficient, np.float32)
        if vectors.ndim != 3 or coefficient.ndim != 2 or coefficient.shape[1] != vectors.shape[0]:
            raise UserError(
                "steering needs vectors [directions, layers, width] and coefficient "
                f"[batch, directions], not {vectors.shape} and {coefficient.shape}"
            )
        if not (np.isfinite(vectors).all() and np.isfinite(coefficient).all()):
            raise UserError("steering vectors and coefficients must be finite")
        batch, directions = coefficient.shape
        if gate is None:
            listens = np.ones((directions, len(SIGNED_MOTIONS))) if gates is None else gates
            if np.ndim(listens) != 2 or len(np.asarray(listens)) != directions:
                raise UserError(
                    f"gates must be [directions, signed motions] for {directions} directions, "
                    f"not {np.shape(listens)}"
                )
            gate = ThresholdGate.of(threshold, listens, batch)
        place, role = split_site(site)
        return cls(
            vectors=jnp.asarray(vectors),
            coefficient=jnp.asarray(coefficient),
            shrink=jnp.asarray(np.broadcast_to(np.asarray(shrink, np.float32), (batch,))),
            gate=gate,
            tokens=role_mask((role,) if tokens is None else tokens),
            site=place,
        )

    @property
    def extent(self) -> tuple[int | None, int, int]:
        """Examples, layers and width."""
        _, layers, width = self.vectors.shape
        return len(self.coefficient), layers, width

    def layered(self) -> Float[Array, "L V D"]:
        """The directions of every layer."""
        return self.vectors.swapaxes(0, 1)

    def edit(
        self,
        x: Float[Array, "B T D"],
        part: Float[Array, "V D"],
        opened: Float[Array, "B #V"],
        alarmed: Float[Array, "B"],
        risk: Float[Array, "B M"],
        token_role: Float[Array, "B T R"],
    ) -> Edited:
        """Adds this layer's push and takes the shrinkage away."""
        push = jnp.einsum("bv,vd->bd", self.coefficient * opened, part)
        shrink = self.shrink * alarmed
        edited = x + push[:, None, :] - shrink[:, None, None] * x
        return Edited(edited, (push != 0).any(-1) | (shrink != 0))
