"""The linear form: Jacobians as a linear function of what the activations say."""

import numpy as np

from mist_jax.axes import Float


def regress_jacobians(
    jacobians: Float[np.ndarray, "Q A S D"], z: np.ndarray, ridge: float
) -> Float[np.ndarray, "terms A S D"]:
    """J_0 and one Jacobian per number of z [Q, k], by ridge regression; float32.

    Minimises the mean over states of |J - J_0 - sum_k z_k J_k|^2, plus `ridge` times the squared
    norms of the J_k; z has mean 0 and variance 1, so that J_0 is the mean.
    """
    flat = jacobians.reshape(len(z), -1)
    mean = flat.mean(axis=0, dtype=np.float64)
    square = z.T @ z / len(z) + ridge * np.eye(z.shape[1])
    weights = np.linalg.solve(square, z.T / len(z)).astype(np.float32)  # [k, Q]
    slopes = weights @ (flat - mean.astype(np.float32))
    terms = np.concatenate([mean[None].astype(np.float32), slopes])
    return terms.reshape(-1, *jacobians.shape[1:])


def predicted(terms: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The Jacobians [Q, A, S, D] that `terms` [1 + k, A, S, D] give for z [Q, k]."""
    return terms[0] + np.tensordot(np.asarray(z, np.float32), terms[1:], axes=1)
