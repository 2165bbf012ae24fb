"""The roles a token of the language model's sequence may have."""

import jax.numpy as jnp

from mist_jax.axes import Array, Float
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
