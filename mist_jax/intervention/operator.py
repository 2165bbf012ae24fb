"""What may change activations inside the compiled forward, and the one function that does."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from mist_jax.axes import Array, Bool, Float
from mist_jax.intervention.gate import Gate
from mist_jax.intervention.tokens import chosen_tokens


@struct.dataclass
class Edited:
    """What an operator makes of one place of one layer.

    `acts` says which examples it acts on. `wanted` is the change of the action, in executed units a
    control step, that it means to make there; None where an operator thinks of no action.
    """

    x: Float[Array, "B T D"]
    acts: Bool[Array, "B"]
    wanted: Float[Array, "B A"] | None = None


class Operator(Protocol):
    """A pytree of arrays whose shapes never change; `Steering` is one.

    `site` is static: the steerable place it acts at, such as `llm.resid`. `tokens` follows
    `TOKEN_ROLES`: which kinds of token it acts on. `pinned` is static too: the only layers at which
    it may ever act. A forward that is compiled layer by layer does without it at all others, and
    calls `edit` at these whatever `active` says. None: any, as `active` says.
    """

    site: str
    pinned: tuple[int, ...] | None = None
    tokens: Float[Array, "R"]
    gate: Gate

    @property
    def extent(self) -> tuple[int | None, int, int]:
        """Examples (None: any), layers and width its arrays are for."""
        ...

    def layered(self) -> Any:
        """A pytree of what differs between layers, every leaf [L, ...]; made once per forward."""
        ...

    def active(self, part: Any) -> Bool[Array, ""] | bool:
        """Whether a layer with this `part` may be edited; where not, nothing is even computed.

        True for what may act at every layer. It must not look at coefficients: where they are zero
        the gradient is wanted.
        """
        return True

    def edit(
        self,
        x: Float[Array, "B T D"],
        part: Any,
        opened: Float[Array, "B #V"],
        alarmed: Float[Array, "B"],
        risk: Float[Array, "B M"],
        token_role: Float[Array, "B T R"],
    ) -> Edited:
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
    present: Bool[Array, "B T"] | None = None,
    known: Sequence[bool | None] | None = None,
) -> tuple[Float[Array, "B T D"], Float[Array, "B"], Float[Array, "B A"] | None]:
    """One place of one layer after its operators (each with its layer's part), in order.

    The only function that changes activations. The second output is the norm of the change, as a
    fraction of the norm of what was there, averaged over the tokens acted on; no gradient flows
    through it. The third is the sum of what the operators wanted; None where none thinks of
    actions. A layer at which no operator is active costs nothing, nor does one that is not beside
    one that is. Tokens that are not `present` (all are, where None is given) are not acted on.
    What is `known` of an operator, True or False, is not asked of it.
    """
    told = known or [None] * len(operators)
    active = [
        operator.active(part) if acts is None else acts
        for (operator, part), acts in zip(operators, told, strict=True)
    ]

    def edited() -> tuple[Array, Array, Array | None]:
        acting = [True] if len(operators) == 1 else active  # a single one was asked already
        return _edited(hidden, operators, acting, risk, token_role, present)

    def untouched() -> tuple[Array, Array, Array | None]:
        _, *rest = _zeros(edited)
        return hidden, *rest

    if any(one is True for one in active):
        return edited()
    asked = [one for one in active if one is not False]
    return jax.lax.cond(jnp.stack(asked).any(), edited, untouched) if asked else untouched()


def _edited(
    hidden: Float[Array, "B T D"],
    operators: Sequence[tuple[Operator, Any]],
    acting: Sequence[Bool[Array, ""] | bool],
    risk: Float[Array, "B M"],
    token_role: Float[Array, "B T R"],
    present: Bool[Array, "B T"] | None = None,
) -> tuple[Float[Array, "B T D"], Float[Array, "B"], Float[Array, "B A"] | None]:
    """`edit_activations` at a layer where something may act."""
    full = hidden.astype(jnp.float32)
    x, active = full, jnp.zeros(hidden.shape[:2], bool)
    wanted = []
    for (operator, part), acts in zip(operators, acting, strict=True):
        made = _made(operator, part, acts, x, risk, token_role)
        chosen = chosen_tokens(token_role, operator.tokens)
        there = made.acts[:, None] & chosen
        there = there if present is None else there & present
        x = _keep_bits(there[..., None], jnp.where(chosen[..., None], made.x, x), x)
        active |= there
        wanted += [] if made.wanted is None else [made.wanted]
    before, after = jax.lax.stop_gradient((full, x))
    moved = jnp.where(active, jnp.linalg.norm(after - before, axis=-1), 0.0)
    scale = jnp.where(active, jnp.linalg.norm(before, axis=-1), 0.0)
    amount = moved.sum(-1) / jnp.maximum(scale.sum(-1), 1e-6)
    kept = _keep_bits(active[..., None], x.astype(hidden.dtype), hidden)
    return kept, amount, sum(wanted[1:], wanted[0]) if wanted else None


def _made(
    operator: Operator,
    part: Any,
    acts: Bool[Array, ""] | bool,
    x: Float[Array, "B T D"],
    risk: Float[Array, "B M"],
    token_role: Float[Array, "B T R"],
) -> Edited:
    """What one operator makes of the activations; where `acts` is false, nothing."""

    def edit() -> Edited:
        gate = operator.gate
        return operator.edit(x, part, gate.opened(risk), gate.alarmed(risk), risk, token_role)

    def leave() -> Edited:
        return dataclasses.replace(_zeros(edit), x=x)

    if isinstance(acts, bool):
        return edit() if acts else leave()
    return jax.lax.cond(acts, edit, leave)


def _zeros(make: Callable[[], Any]) -> Any:
    """Zeros in the shapes of what `make` would give, which is not computed."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(make))


@jax.custom_jvp
def _keep_bits(acting: Bool[Array, "B T 1"], edited: Array, untouched: Array) -> Array:
    """`untouched` where nothing acts, with the gradient of `edited` everywhere.

    Where nothing acts both have one value, but only `edited` knows how a push would change it.
    """
    return jnp.where(acting, edited, untouched)


@_keep_bits.defjvp
def _keep_bits_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return _keep_bits(*primals), tangents[1]
