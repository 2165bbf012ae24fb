"""What may change activations inside the compiled forward, and the one function that does."""

from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from mist_jax.axes import Array, Bool, Float
from mist_jax.intervention.gate import Gate


class Operator(Protocol):
    """A pytree of arrays whose shapes never change; `Steering` is one.

    `site` is static: the steerable place it acts at, such as `llm.resid`. `tokens` follows
    `TOKEN_ROLES`: which kinds of token it acts on.
    """

    site: str
    tokens: Float[Array, "R"]
    gate: Gate

    @property
    def extent(self) -> tuple[int | None, int, int]:
        """Examples (None: any), layers and width its arrays are for."""
        ...

    def layered(self) -> Any:
        """A pytree of what differs between layers, every leaf [L, ...]; made once per forward."""
        ...

    def edit(
        self,
        x: Float[Array, "B T D"],
        part: Any,
        opened: Float[Array, "B #V"],
        alarmed: Float[Array, "B"],
    ) -> tuple[Float[Array, "B T D"], Bool[Array, "B"]]:
        """The activations as this layer's `part` makes them, and which examples it acts on.

        Every token may be edited: those of other roles, and examples it does not act on, keep
        their bits whatever comes back. An example with nothing to do must come back unchanged in
        value, with the gradient that it has, so that effects can be differentiated at zero.
        """
        ...


def edit_activations(
    hidden: Float[Array, "B T D"],
    operators: Sequence[tuple[Operator, Any]],
    risk: Float[Array, "B M"],
    token_role: Float[Array, "B T R"],
) -> tuple[Float[Array, "B T D"], Float[Array, "B"]]:
    """One place of one layer after its operators (each with its layer's part), in order.

    The only function that changes activations. The second output is the norm of the change, as a
    fraction of the norm of what was there, averaged over the tokens acted on; no gradient flows
    through it.
    """
    full = hidden.astype(jnp.float32)
    x, active = full, jnp.zeros(hidden.shape[:2], bool)
    for operator, part in operators:
        edited, acts = operator.edit(
            x, part, operator.gate.opened(risk), operator.gate.alarmed(risk)
        )
        chosen = jnp.einsum("btr,r->bt", token_role, operator.tokens) > 0
        acting = acts[:, None] & chosen
        x = _keep_bits(acting[..., None], jnp.where(chosen[..., None], edited, x), x)
        active |= acting
    before, after = jax.lax.stop_gradient((full, x))
    moved = jnp.where(active, jnp.linalg.norm(after - before, axis=-1), 0.0)
    scale = jnp.where(active, jnp.linalg.norm(before, axis=-1), 0.0)
    amount = moved.sum(-1) / jnp.maximum(scale.sum(-1), 1e-6)
    return _keep_bits(active[..., None], x.astype(hidden.dtype), hidden), amount


@jax.custom_jvp
def _keep_bits(acting: Bool[Array, "B T 1"], edited: Array, untouched: Array) -> Array:
    """`untouched` where nothing acts, with the gradient of `edited` everywhere.

    Where nothing acts both have one value, but only `edited` knows how a push would change it.
    """
    return jnp.where(acting, edited, untouched)


@_keep_bits.defjvp
def _keep_bits_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return _keep_bits(*primals), tangents[1]
