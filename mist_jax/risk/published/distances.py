"""SAFE's distances of embeddings (Gu et al., arXiv 2506.09937): far from success, near to failure.

A score is the distance to the queries of successful training episodes less that to the failed ones.
As in its scripts' variant without a running sum, so that a score speaks of its own query. What
differs from its code: features are standardised on the training fold, and the covariance is Ledoit
and Wolf's (there: the sample's plus 1e-4, which has no meaning with fewer queries than features).
"""

import numpy as np
from scipy.linalg import cho_factor, cho_solve

NEIGHBOURS = 10


def mahalanobis_scores(success: np.ndarray, failure: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Scores [Q] of `queries` [Q, D] by the distances to two Gaussians (Lee et al. 2018)."""
    return mahalanobis(success, queries) - mahalanobis(failure, queries)


def cosine_scores(success: np.ndarray, failure: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Scores [Q] of `queries` [Q, D] by the mean distance to the nearest ten of each outcome."""
    return cosine_neighbours(success, queries) - cosine_neighbours(failure, queries)


def mahalanobis(known: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Distance [Q] of `queries` [Q, D] to the mean of `known` under its shrunk covariance."""
    known, queries = known.astype(np.float64), queries.astype(np.float64)
    mean = known.mean(axis=0)
    apart = queries - mean
    factor = cho_factor(shrunk_covariance(known - mean), lower=True)
    return np.sqrt(np.maximum((apart * cho_solve(factor, apart.T).T).sum(axis=1), 0.0))


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
