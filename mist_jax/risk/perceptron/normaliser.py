"""Mean and scale of features over training rows alone, on the host or on the device."""

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.axes import Array, Float


def normaliser(rows: np.ndarray) -> np.ndarray:
    """Mean and scale [2, D], float32; a nearly constant feature is not blown up."""
    rows = rows.astype(np.float64)
    return np.stack([rows.mean(axis=0), floored(rows.std(axis=0))]).astype(np.float32)


def floored(scale: np.ndarray) -> np.ndarray:
    """Standard deviations [..., D], none below a hundredth of their median; positive."""
    median = np.median(scale, axis=-1, keepdims=True)
    floor = np.where(median > 0, 1e-2 * median, scale.max(axis=-1, keepdims=True))
    return np.maximum(scale, np.where(floor > 0, floor, 1.0))


@jax.jit
def moments(x: Array, rows: Array, present: Array) -> tuple[Array, Array]:
    """Mean and standard deviation [L, D], float32, of x [Q, L, D] at `rows` [blocks, batch].

    Padding has `present` False. Two passes in blocks: no float32 copy of `x`, no cancellation.
    """
    count = jnp.maximum(present.sum(), 1)

    def total(of):
        def add(so_far: Float[Array, "L D"], block):
            at, here = block
            values = jnp.where(here[:, None, None], of(x[at].astype(jnp.float32)), 0.0)
            return so_far + values.sum(axis=0), None

        return jax.lax.scan(add, jnp.zeros(x.shape[1:], jnp.float32), (rows, present))[0]

    mean = total(lambda values: values) / count
    return mean, jnp.sqrt(total(lambda values: (values - mean) ** 2) / count)
