"""The smallest push that changes the action by what is wanted."""

import jax.numpy as jnp

from mist_jax.axes import Array, Float


def known_rows(jacobian: Float[Array, "B A S D"]) -> Float[Array, "B A S D"]:
    """The Jacobian with zeros in rows that are not finite."""
    known = jnp.isfinite(jacobian).all(axis=(-2, -1), keepdims=True)
    return jnp.where(known, jacobian, 0)


def least_norm(
    jacobian: Float[Array, "B A S D"], wanted: Float[Array, "B A"], damping: Float[Array, ""]
) -> Float[Array, "B S D"]:
    """J^T (J J^T + damping I)^-1 wanted, the rows of J scaled to norm 1 first. Float32.

    Tikhonov's damped pseudo-inverse: dimensions that are not wanted stay where they are. A row of
    J that is zero or not finite pushes nothing, and is not held either.
    """
    rows = known_rows(jacobian.astype(jnp.float32))
    norm = jnp.sqrt(jnp.square(rows).sum(axis=(-2, -1)))
    moves = norm > 0
    scale = jnp.where(moves, 1 / jnp.where(moves, norm, 1), 0)
    rows = rows * scale[..., None, None]
    # Token by token: cuBLAS has no good kernel for few rows of 200,000 (3 ms of a query of 8).
    square = jnp.einsum("basd,bcsd->bsac", rows, rows, precision="highest").sum(axis=1)
    # A row that cannot move gets 1 on the diagonal: it is solved for by itself, with nothing.
    damped = square + (damping + (~moves)[..., None]) * jnp.eye(rows.shape[1])
    share = jnp.linalg.solve(damped, (wanted * scale)[..., None])[..., 0]
    return jnp.einsum("ba,basd->bsd", share, rows)
