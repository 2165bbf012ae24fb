"""What of the activations an intent listens to: a few principal components, standardised."""

from dataclasses import dataclass

import numpy as np

from mist_jax.errors import UserError
from mist_jax.intervention.features import Projection


@dataclass(frozen=True)
class Components:
    """z = (features - mean) @ basis / scale; float32 `mean` [F], `basis` [F, k], `scale` [k]."""

    mean: np.ndarray
    basis: np.ndarray
    scale: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """float64 [n, k] of features [n, F]."""
        centred = np.asarray(features, np.float64) - self.mean
        return centred @ self.basis / self.scale

    def first(self, count: int) -> "Components":
        """The leading ones alone."""
        return Components(self.mean, self.basis[:, :count], self.scale[:count])

    def projection(self) -> Projection:
        """The same as the forward takes it."""
        return Projection.of(self.mean, self.basis, self.scale)


def principal_components(features: np.ndarray, count: int) -> Components:
    """The `count` directions of largest variance of `features` [n, F], each scaled to variance 1.

    There are fewer where the features do not vary in so many directions.

    Raises:
        UserError: the features do not vary at all.
    """
    features = np.asarray(features, np.float64)
    mean = features.mean(axis=0)
    _, spread, rows = np.linalg.svd(features - mean, full_matrices=False)
    alive = int((spread > 1e-6 * max(spread[0], 1e-12)).sum()) if spread[0] > 0 else 0
    if alive == 0:
        raise UserError(
            f"the features of all {len(features)} states are the same: nothing to learn"
        )
    count = min(count, alive)
    deviation = spread[:count] / np.sqrt(len(features))
    return Components(*(np.asarray(one, np.float32) for one in (mean, rows[:count].T, deviation)))
