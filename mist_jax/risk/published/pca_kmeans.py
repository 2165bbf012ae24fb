"""Distances to cluster centres among the main components of the training queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.linalg import eigh

from mist_jax.risk.detector import Member, Progress
from mist_jax.risk.published.contrast import Contrast
from mist_jax.risk.published.distances import nearest
from mist_jax.risk.published.sides import Sides

COMPONENTS = 64  # SAFE's default, and
CLUSTERS = 16  # its default
MOST = 16384  # training queries clustered of each side, a random draw
ITERATIONS = 50


@dataclass(frozen=True)
class Clusters:
    """Distance to the nearest centre of quiet queries less that to the nearest of harmful ones.

    Liu et al., arXiv 2410.22689, as FAIL-Detect (arXiv 2503.08558) and SAFE (arXiv 2506.09937,
    `failure_prob/model/embed.py`, "pca_kmeans") have it. One difference from SAFE's code: both
    sides share the components of all training queries (there each side is clustered in components
    of its own, and queries are compared in those of the successes with the centres of both).
    """

    blocks: int = 0

    def fit(self, sides: Sequence[Sides], progress: Progress) -> list[dict[str, Any]]:
        """Components [D, n] and centres [16, n] of each side."""
        return [self._fold(side) for side in sides]

    def score(self, learnt: Member, features: np.ndarray) -> np.ndarray:
        """Float [Q] of standardised `features` [Q, D]."""
        inside = features @ np.asarray(learnt["components"])
        quiet, harm = (nearest(np.asarray(learnt[name]), inside, 1) for name in ("quiet", "harm"))
        return quiet - harm

    def _fold(self, side: Sides) -> dict[str, Any]:
        both = [side.rows(harm, MOST) for harm in (False, True)]
        components = main_components(np.concatenate(both), COMPONENTS)
        quiet, harm = (centres(rows @ components, CLUSTERS) for rows in both)
        return {"components": components, "quiet": quiet, "harm": harm}


def main_components(rows: np.ndarray, count: int) -> np.ndarray:
    """Float32 [D, count]: orthonormal directions of most variance of `rows` [n, D], most first.

    Of fewer features there are as many as features.
    """
    covariance = np.cov(rows.astype(np.float64), rowvar=False, bias=True)
    _, vectors = eigh(np.atleast_2d(covariance))
    return vectors[:, ::-1][:, :count].astype(np.float32)


def centres(rows: np.ndarray, count: int) -> np.ndarray:
    """Float32 [count, n] by k-means from k-means++ (Lloyd's, always the same draw).

    Of fewer rows than `count` each is a centre, the first of them several times.
    """
    if len(rows) <= count:
        return rows[np.arange(count) % len(rows)].astype(np.float32)
    rng = np.random.default_rng(0)
    found, _ = kmeans2(
        rows.astype(np.float64), count, iter=ITERATIONS, minit="++", missing="warn", rng=rng
    )
    return found.astype(np.float32)


PCA_KMEANS = Contrast("PCA-KMeans", Clusters())
