"""The linear form: Jacobians as a linear function of what the activations say."""

import numpy as np

from mist_jax.axes import Float
from mist_jax.errors import UserError
from mist_jax.intervention.features import Projection


def principal_features(
    features: Float[np.ndarray, "Q features"], count: int
) -> tuple[Projection, np.ndarray]:
    """The projection to `count` principal components, each of variance 1, and z float32 [Q, k].

    There are fewer components where the features vary in fewer directions.

    Raises:
        UserError: they do not vary at all.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    left, spread, axes = np.linalg.svd(features - mean, full_matrices=False)
    kept = min(count, int((spread > 1e-6 * max(spread[0], 1e-12)).sum()))
    if not kept:
        raise UserError("the activations of all states are the same: there is nothing to learn")
    scale = spread[:kept] / np.sqrt(len(features))
    z = left[:, :kept] * np.sqrt(len(features))
    return Projection.of(mean, axes[:kept].T, scale), z.astype(np.float32)


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
    return terms[0] + np.tensordot(z, terms[1:], axes=1)
