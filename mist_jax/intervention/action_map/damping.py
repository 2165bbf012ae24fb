"""How much a least push is damped."""

import jax.numpy as jnp
import numpy as np

from mist_jax.axes import Array
from mist_jax.errors import UserError

DAMPING = 1e-3
"""Relative to rows of norm 1: a dimension alone is realised to 1 / (1 + damping)."""


def checked_damping(damping: float) -> Array:
    """Float32 on the device.

    Raises:
        UserError: not positive or not finite.
    """
    if not 0 < damping < np.inf:
        raise UserError(f"damping must be positive, not {damping}")
    return jnp.asarray(damping, jnp.float32)
