"""The push that changes the action by what is wanted: intent, gate and action map at once."""

from typing import Self

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import ACTION_DIMENSIONS, Array, Bool, Float
from mist_jax.errors import UserError
from mist_jax.intervention.action_map.map import ActionMap
from mist_jax.intervention.features import pooled_roles
from mist_jax.intervention.finite import finite
from mist_jax.intervention.gate import AlwaysOpen, Gate
from mist_jax.intervention.intent.intent import ActionIntent
from mist_jax.intervention.operator import Edited, Operator
from mist_jax.intervention.site import DEFAULT_SITE, split_site
from mist_jax.intervention.tokens import ACTION_TOKENS, chosen_tokens, role_mask, spread


@struct.dataclass
class CausalPush(Operator):
    """h <- h + applied * map(transform intent(h)) at the layer that is `on`, gate permitting.

    The wanted change of the action is the intent's, times how far any direction of the gate is
    open, turned by `transform`: I as it is, -I the other way, a rotation a placebo of equal size, 0
    leaves the example alone bit for bit. With `applied` 0 what is wanted is told and nothing done.
    With more than one layer on, each pushes for all of it.
    """

    action_map: ActionMap
    intent: ActionIntent
    transform: Float[Array, "B A A"]
    applied: Float[Array, "B"]
    on: Float[Array, "L"]  # 1 at the layers that push
    gate: Gate
    tokens: Float[Array, "R"]
    reads: tuple[str, ...] = struct.field(pytree_node=False, default=(ACTION_TOKENS,))
    site: str = struct.field(pytree_node=False, default=DEFAULT_SITE)
    pinned: tuple[int, ...] | None = struct.field(pytree_node=False, default=None)

    @classmethod
    def of(
        cls,
        action_map: ActionMap,
        intent: ActionIntent,
        transform: ArrayLike,
        on: ArrayLike,
        *,
        applied: ArrayLike = 1.0,
        gate: Gate | None = None,
        tokens: tuple[str, ...] | None = None,
        reads: tuple[str, ...] = (ACTION_TOKENS,),
        site: str = DEFAULT_SITE,
        pin: bool = False,
    ) -> Self:
        """From a map, an intent, `transform` [B, A, A], `on` [L] and `applied` [B] or one for all.

        Args:
            action_map: for width D and these examples.
            intent: for these examples.
            transform: turns what the intent wants.
            on: 1 at the layer that pushes, else 0.
            applied: the share that is done of what is wanted.
            gate: default always open.
            tokens: roles of the tokens pushed; default the site's.
            reads: roles of the tokens whose mean intent and map look at, in this order.
            site: where it reads and acts.
            pin: makes the layers that are on static: a forward compiled layer by layer asks nothing
                at run time, and is traced anew for other layers.

        Raises:
            UserError: a shape does not fit, a value is not finite, or a token role is unknown.
        """
        turns = finite("transform", transform, ("batch", *["action dimensions"] * 2))
        layers = finite("the layers pushed", on, ("layers",))
        pinned = tuple(np.flatnonzero(np.asarray(on)).tolist()) if pin else None
        batch, dims = len(turns), len(ACTION_DIMENSIONS)
        if turns.shape[1:] != (dims, dims):
            raise UserError(f"transform must be [batch, {dims}, {dims}], not {turns.shape}")
        try:
            share = np.broadcast_to(np.asarray(applied, np.float32), (batch,))
        except ValueError:
            raise UserError(
                f"applied must be a number or [batch] for {batch} examples, not {np.shape(applied)}"
            ) from None
        for what, examples in (("map", action_map.extent[0]), ("intent", intent.examples)):
            if examples not in (None, batch):
                raise UserError(f"the {what} is for {examples} examples, transform for {batch}")
        place, role = split_site(site)
        for read in reads:
            role_mask((read,))
        return cls(
            action_map=action_map,
            intent=intent,
            transform=turns,
            applied=finite("applied", share, ("batch",)),
            on=layers,
            gate=gate or AlwaysOpen(),
            tokens=role_mask(tokens or (role,)),
            reads=tuple(reads),
            site=place,
            pinned=pinned,
        )

    @property
    def extent(self) -> tuple[int | None, int, int]:
        """Examples, layers and width."""
        return len(self.transform), len(self.on), self.action_map.extent[1]

    def layered(self) -> Float[Array, "L"]:
        """The switches of every layer."""
        return self.on

    def active(self, part: Float[Array, ""]) -> Bool[Array, ""]:
        """Where it is on."""
        return part != 0

    def edit(
        self,
        x: Float[Array, "B T D"],
        part: Float[Array, ""],
        opened: Float[Array, "B #V"],
        alarmed: Float[Array, "B"],
        risk: Float[Array, "B M"],
        token_role: Float[Array, "B T R"],
    ) -> Edited:
        """Adds the push for what is wanted."""
        features = pooled_roles(x, token_role, self.reads)
        intended = self.intent.wanted(features, opened, risk) * opened.max(-1, keepdims=True)
        wanted = jnp.einsum("bac,bc->ba", self.transform, intended) * part
        push = self.action_map.push(features, wanted) * self.applied[:, None, None]
        added = spread(push, chosen_tokens(token_role, self.tokens))
        return Edited(x + added, (push != 0).any((-2, -1)), wanted)
