"""Arrays as users give them: of the right shape and finite, or refused in one line."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from mist_jax.axes import Array
from mist_jax.errors import UserError


def finite(what: str, values: ArrayLike, axes: tuple[str, ...]) -> Array:
    """`values` as float32 on the device, with as many axes as are named.

    Raises:
        UserError: another number of axes, or a value that is not finite.
    """
    array = np.asarray(values, np.float32)
    if array.ndim != len(axes):
        raise UserError(f"{what} must be [{', '.join(axes)}], not {array.shape}")
    if not np.isfinite(array).all():
        raise UserError(f"{what} must be finite")
    return jnp.asarray(array)
