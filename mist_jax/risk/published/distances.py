"""SAFE's distances of embeddings (Gu et al., arXiv 2506.09937): far from success, near to failure.

A score is the distance to the queries of successful training episodes less that to the failed ones.
As in its scripts' variant without a running sum, so that a score speaks of its own query. What
differs from its code: features are standardised on the training fold, and the covariance is Ledoit
and Wolf's (there: the sample's plus 1e-4, which has no meaning with fewer queries than features).
"""

import numpy as np
from scipy.linalg import cholesky, solve_triangular

NEIGHBOURS = 10


def cosine_scores(success: np.ndarray, failure: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Scores [Q] of `queries` [Q, D] by the mean distance to the nearest ten of each outcome."""
    return cosine_neighbours(success, queries) - cosine_neighbours(failure, queries)


def mahalanobis(known: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Distance [Q] of `queries` [Q, D] to the mean of `known` under its shrunk covariance."""
    return distance_to(*gaussian(known), queries)


def gaussian(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] of `known` rows, and the matrix [D, D] that makes their shrunk covariance one."""
    known = known.astype(np.float64)
    mean = known.mean(axis=0)
    factor = cholesky(shrunk_covariance(known - mean), lower=True)
    return mean, solve_triangular(factor, np.eye(len(mean)), lower=True).T


def distance_to(mean: np.ndarray, whiten: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Mahalanobis distance [Q] of `queries` [Q, D] to one `gaussian` (Lee et al. 2018)."""
    return np.linalg.norm((queries.astype(np.float64) - mean) @ whiten, axis=1)


def shrunk_covariance(centred: np.ndarray) -> np.ndarray:
    """Covariance [D, D] of `centred` rows, drawn to a multiple of the identity.

    By as much as makes the expected squared error least (Ledoit & Wolf 2004).
    """
    count, width = centred.shape
    sample = centred.T @ centred / count
    level = np.trace(sample) / width
    spread = ((sample - level * np.eye(width)) ** 2).sum()
    error = ((centred**2).sum(axis=1) ** 2).sum() / count**2 - (sample**2).sum() / count
    strength = float(np.clip(error / spread, 0.0, 1.0)) if spread > 0 else 1.0
    # Rows that are all alike have no covariance: any positive level leaves them comparable.
    return (1 - strength) * sample + strength * (level or 1.0) * np.eye(width)


def cosine_neighbours(known: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Mean cosine distance [Q] of `queries` [Q, D] to the nearest ten of `known` (or all)."""
    nearest = min(NEIGHBOURS, len(known))
    distance = 1.0 - _unit(queries) @ _unit(known).T
    return np.partition(distance, nearest - 1, axis=1)[:, :nearest].mean(axis=1)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-8)
