"""Distances of embeddings: to a Gaussian, to the nearest rows, to centres of clusters.

As in SAFE (Gu et al., arXiv 2506.09937) but for the covariance, which is Ledoit and Wolf's (there:
the sample's plus 1e-4, which has no meaning with fewer queries than features).
"""

import numpy as np
from scipy.linalg import cholesky, solve_triangular

CHUNK = 4096  # queries compared at a time: their distances to 4,096 rows take 64 MiB


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


def unit(rows: np.ndarray) -> np.ndarray:
    """`rows` [n, D] at length one."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-8)


def nearest(known: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    """Mean Euclidean distance [Q] of `queries` [Q, D] to the `count` nearest of `known` (or all).

    By matrix products, some thousand queries at a time.
    """
    count = min(count, len(known))
    squares = (known**2).sum(axis=1)
    found = [np.zeros(0)]
    for start in range(0, len(queries), CHUNK):
        some = queries[start : start + CHUNK]
        # |q - k|^2 = |q|^2 - 2 q.k + |k|^2; the first is the same for all of a query's neighbours.
        apart = squares - 2.0 * (some @ known.T)
        if count < len(known):
            apart = np.partition(apart, count - 1, axis=1)[:, :count]
        apart = apart + (some**2).sum(axis=1)[:, None]
        found.append(np.sqrt(np.maximum(apart, 0.0)).mean(axis=1))
    return np.concatenate(found)


def nearest_cosine(known: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    """As `nearest`, by the cosine distance: 1 less the cosine of the angle between two rows."""
    known, count = unit(known), min(count, len(known))
    found = [np.zeros(0)]
    for start in range(0, len(queries), CHUNK):
        alike = unit(queries[start : start + CHUNK]) @ known.T
        if count < len(known):
            alike = np.partition(alike, len(known) - count, axis=1)[:, -count:]
        found.append(1.0 - alike.mean(axis=1))
    return np.concatenate(found)
