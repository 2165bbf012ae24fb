"""Steering as data: a pytree of arrays whose shapes never change, so nothing is ever retraced.

At every layer l, for every token the mask selects, the forward computes

    h <- h + g * sum_v c[b, v] * u[v, l]  -  g_s * s[b] * h

where u are the bank's directions, c an example's coefficients, g the direction's gate and s the
shrinkage control. A gate opens when the calibrated risk of one of its action dimensions, read at
`risk layer` in the same forward pass, exceeds the threshold; it acts on later layers only.
A token with nothing to add keeps its bits.
"""

from typing import Self

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import ACTION_DIMENSIONS, Array, Bool, Float
from mist_jax.errors import UserError

ACTION_TOKENS = "action"
TOKEN_ROLES = ("bos", "image", "proprio", "prompt", ACTION_TOKENS, "stop")


@struct.dataclass
class Steering:
    """What to add to the residual stream, for whom, where and when.

    `threshold` compares against risk: `-inf` is always open, `+inf` never. `tokens` follows
    `TOKEN_ROLES`: which kinds of token are steered. Float32 throughout.
    """

    vectors: Float[Array, "V L D"]
    coefficient: Float[Array, "B V"]
    shrink: Float[Array, "B"]
    gates: Float[Array, "V A"]  # 1 where a dimension's risk may open the direction's gate
    threshold: Float[Array, "B A"]
    tokens: Float[Array, "R"]

    @classmethod
    def off(cls, *, batch: int, layers: int, width: int, directions: int = 1) -> Self:
        """Steering that leaves every bit of the forward as it is."""
        dims = len(ACTION_DIMENSIONS)
        return cls(
            vectors=jnp.zeros((directions, layers, width), jnp.float32),
            coefficient=jnp.zeros((batch, directions), jnp.float32),
            shrink=jnp.zeros((batch,), jnp.float32),
            gates=jnp.ones((directions, dims), jnp.float32),
            threshold=jnp.full((batch, dims), -jnp.inf, jnp.float32),
            tokens=role_mask((ACTION_TOKENS,)),
        )

    @classmethod
    def of(
        cls,
        vectors: ArrayLike,
        coefficient: ArrayLike,
        *,
        gates: ArrayLike | None = None,
        threshold: ArrayLike = -np.inf,
        shrink: ArrayLike = 0.0,
        tokens: tuple[str, ...] = (ACTION_TOKENS,),
    ) -> Self:
        """Steering from `vectors` [V, L, D] and `coefficient` [B, V]; the rest broadcasts.

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
        batch, dims = len(coefficient), len(ACTION_DIMENSIONS)
        gates = np.ones((len(vectors), dims)) if gates is None else gates
        return cls(
            vectors=jnp.asarray(vectors),
            coefficient=jnp.asarray(coefficient),
            shrink=jnp.asarray(np.broadcast_to(np.asarray(shrink, np.float32), (batch,))),
            gates=jnp.asarray(np.asarray(gates, np.float32)),
            threshold=jnp.asarray(
                np.broadcast_to(np.asarray(threshold, np.float32), (batch, dims))
            ),
            tokens=role_mask(tokens),
        )

    @property
    def batch(self) -> int:
        """Number of examples the coefficients are for."""
        return self.coefficient.shape[0]


def role_mask(roles: tuple[str, ...]) -> Float[Array, "R"]:
    """1 for each named token role, in the order of `TOKEN_ROLES`."""
    unknown = sorted(set(roles) - set(TOKEN_ROLES))
    if unknown:
        raise UserError(f"unknown token role {unknown[0]!r}; there are {', '.join(TOKEN_ROLES)}")
    return jnp.asarray([float(role in roles) for role in TOKEN_ROLES], jnp.float32)


def open_gates(steering: Steering, risk: Float[Array, "B A"]) -> Bool[Array, "B V"]:
    """Which directions may act for which example, given this forward's risk."""
    alarm = risk > steering.threshold
    return jnp.einsum("ba,va->bv", alarm.astype(jnp.float32), steering.gates) > 0


def any_alarm(steering: Steering, risk: Float[Array, "B A"]) -> Bool[Array, "B"]:
    """Whether any dimension of an example is above its threshold (gates the shrinkage)."""
    return (risk > steering.threshold).any(axis=-1)


def steer(
    hidden: Float[Array, "B T D"],
    layer_vectors: Float[Array, "V D"],
    steering: Steering,
    opened: Bool[Array, "B V"],
    shrinking: Bool[Array, "B"],
    token_role: Float[Array, "B T R"],
) -> tuple[Float[Array, "B T D"], Float[Array, "B"]]:
    """One layer's edit of the residual stream, and how much it moved it.

    The only function that changes activations. The second output is the norm of what was added,
    as a fraction of the residual stream's norm, averaged over the tokens steered.
    """
    push = jnp.einsum("bv,vd->bd", steering.coefficient * opened, layer_vectors)
    shrink = steering.shrink * shrinking
    mask = jnp.einsum("btr,r->bt", token_role, steering.tokens)
    full = hidden.astype(jnp.float32)
    edited = full + push[:, None, :] - shrink[:, None, None] * full
    acts = (push != 0).any(-1) | (shrink != 0)
    active = acts[:, None] & (mask > 0)
    moved = jnp.where(active, jnp.linalg.norm(edited - full, axis=-1), 0.0)
    scale = jnp.where(active, jnp.linalg.norm(full, axis=-1), 0.0)
    amount = moved.sum(-1) / jnp.maximum(scale.sum(-1), 1e-6)
    return jnp.where(active[..., None], edited.astype(hidden.dtype), hidden), amount
