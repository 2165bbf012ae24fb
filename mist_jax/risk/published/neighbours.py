"""Nearest neighbours among the training queries, by Euclidean or cosine distance (SAFE's)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mist_jax.risk.detector import Member, Progress
from mist_jax.risk.published.contrast import Contrast
from mist_jax.risk.published.distances import nearest, nearest_cosine
from mist_jax.risk.published.sides import Sides

NEIGHBOURS = 10  # SAFE tries 1, 5 and 10
MOST = 2048  # training queries kept of each side, a random draw; SAFE keeps all of its few


@dataclass(frozen=True)
class Neighbours:
    """Mean distance to the ten nearest quiet queries less that to the ten nearest harmful ones.

    Gu et al., arXiv 2506.09937: `failure_prob/model/embed.py`, "cosine" and "euclid".
    """

    distance: Literal["euclidean", "cosine"]
    blocks: int = 0

    def fit(self, sides: Sequence[Sides], progress: Progress) -> list[dict[str, Any]]:
        """Keeps rows float16 [n, D] of each side: they are by far the most that is stored."""
        return [
            {
                name: side.rows(harm, MOST).astype(np.float16)
                for name, harm in (("quiet", False), ("harm", True))
            }
            for side in sides
        ]

    def score(self, learnt: Member, features: np.ndarray) -> np.ndarray:
        """Float [Q] of standardised `features` [Q, D]."""
        mean_distance = nearest if self.distance == "euclidean" else nearest_cosine
        quiet, harm = (
            mean_distance(np.asarray(learnt[name], np.float32), features, NEIGHBOURS)
            for name in ("quiet", "harm")
        )
        return quiet - harm


EUCLIDEAN_NEIGHBOURS = Contrast("Euclidean kNN", Neighbours("euclidean"))
COSINE_NEIGHBOURS = Contrast("cosine kNN", Neighbours("cosine"))
