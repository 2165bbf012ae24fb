"""The roles a token of the language model's sequence may have."""

import jax.numpy as jnp

from mist_jax.axes import Array, Bool, Float, Int
from mist_jax.errors import UserError

ACTION_TOKENS = "action"
ALL_TOKENS = "all"
TOKEN_ROLES = ("bos", "image", "proprio", "prompt", ACTION_TOKENS, "stop")


def role_mask(roles: tuple[str, ...]) -> Float[Array, "R"]:
    """1 for each named token role, in the order of `TOKEN_ROLES`; `all` names every one.

    Raises:
        UserError: an unknown role.
    """
    unknown = sorted(set(roles) - {*TOKEN_ROLES, ALL_TOKENS})
    if unknown:
        raise UserError(f"unknown token role {unknown[0]!r}; there are {', '.join(TOKEN_ROLES)}")
    named = set(TOKEN_ROLES if ALL_TOKENS in roles else roles)
    return jnp.asarray([float(role in named) for role in TOKEN_ROLES], jnp.float32)


def chosen_tokens(
    token_role: Float[Array, "B T R"], tokens: Float[Array, "R"]
) -> Bool[Array, "B T"]:
    """Which tokens have a role that `tokens` (a `role_mask`) names."""
    return jnp.einsum("btr,r->bt", token_role, tokens) > 0


def token_order(chosen: Bool[Array, "B T"], count: int) -> Int[Array, "B T"]:
    """Which of the chosen tokens each one is, 0-based; -1: not chosen, or beyond `count`."""
    order = jnp.cumsum(chosen, axis=1) - 1
    return jnp.where(chosen & (order < count), order, -1)


def spread(push: Float[Array, "B S D"], chosen: Bool[Array, "B T"]) -> Float[Array, "B #T D"]:
    """A push for every token: one for all chosen ones (S is 1), or the s-th for the s-th chosen.

    Chosen tokens beyond the last get none; what others get does not matter to an operator.
    """
    if push.shape[1] == 1:
        return push
    order = token_order(chosen, push.shape[1])
    own = jnp.take_along_axis(push, jnp.maximum(order, 0)[..., None], axis=1)
    return jnp.where((order >= 0)[..., None], own, 0)
