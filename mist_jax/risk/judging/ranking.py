"""AUROC and AUPRC under a cluster bootstrap, from counts per pair of scenes.

A replicate draws scene c w_c times. The pairs that a positive of scene a wins over a negative of
scene b, U_ab, are counted once; AUROC is then w'Uw / w'Nw for every w, whatever the number of
queries.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mist_jax.risk.judging.metrics import ratio
from mist_jax.risk.judging.resampling import Resampling


class Ranking:
    """Labels of queries with their scenes and strata; many detectors are ranked on them.

    Args:
        label: bool [n].
        cluster: int [n], the scene of each.
        stratum: int [n]; positives are compared with negatives of the same one only.
        resampling: of the scenes.
    """

    def __init__(
        self, label: np.ndarray, cluster: np.ndarray, stratum: np.ndarray, resampling: Resampling
    ):
        self.label, self.resampling = np.asarray(label, bool), resampling
        self.cluster, self.stratum = cluster, stratum
        strata, code = np.unique(stratum, return_inverse=True)
        positive, negative = np.flatnonzero(self.label), np.flatnonzero(~self.label)
        self._positive = positive[np.argsort(code[positive], kind="stable")]
        # A scene may lie in several strata; a group is its negatives in one of them.
        key = code[negative] * resampling.clusters + cluster[negative]
        groups, group = np.unique(key, return_inverse=True)
        self._negative = negative[np.argsort(group, kind="stable")]
        self._group = np.sort(group)
        self._starts = np.searchsorted(self._group, np.arange(len(groups)))
        self._sizes = np.bincount(group, minlength=len(groups))
        # Every positive meets every group of its stratum; a question is one such meeting.
        first = np.searchsorted(groups // resampling.clusters, np.arange(len(strata) + 1))
        mine = code[self._positive]
        count = first[mine + 1] - first[mine]
        self._asks = np.repeat(np.arange(len(self._positive)), count)
        offset = np.arange(len(self._asks)) - np.repeat(np.cumsum(count) - count, count)
        self._meets = first[mine][self._asks] + offset
        ends = np.searchsorted(mine[self._asks], np.arange(len(strata) + 1))
        scenes = groups % resampling.clusters
        self._blocks = [
            self._block(slice(*ends[s : s + 2]), scenes[first[s] : first[s + 1]], first[s])
            for s in np.flatnonzero(np.diff(ends))
        ]

    def _block(self, part: slice, scenes: np.ndarray, first: int) -> "_Block":
        asking = self.cluster[self._positive][self._asks[part]]
        own, row = np.unique(asking, return_inverse=True)
        return _Block(part, own, scenes, row * len(scenes) + self._meets[part] - first)

    @cached_property
    def pairs(self) -> np.ndarray:
        """float [1 + replicates]: how many pairs are compared."""
        return self._quadratic(self._sizes[self._meets].astype(np.float64))

    def auroc(self, score: np.ndarray) -> np.ndarray:
        """float [1 + replicates]: share of pairs that the positive wins, ties half; `score` [n]."""
        if len(self._asks) == 0:
            return np.full(len(self.resampling.weight), np.nan)
        _, rank = np.unique(score, return_inverse=True)
        span = int(rank.max()) + 1
        known = np.sort(self._group * span + rank[self._negative])
        asked = self._meets * span + rank[self._positive][self._asks]
        below = np.searchsorted(known, asked, "left") + np.searchsorted(known, asked, "right")
        return ratio(self._quadratic(below / 2 - self._starts[self._meets]), self.pairs)

    def average_precision(self, score: np.ndarray) -> np.ndarray:
        """float [1 + replicates]: area under precision-recall, the mean over strata by positives.

        Sum of precision times the step in recall, at every positive's score.
        """
        weight, clusters = self.resampling.weight, self.resampling.clusters
        area, positives = np.zeros(len(weight)), np.zeros(len(weight))
        for value in np.unique(self.stratum[self._positive]):
            rows = np.flatnonzero(self.stratum == value)
            label, cluster = self.label[rows], self.cluster[rows]
            levels = np.unique(-score[rows][label])  # thresholds, the strictest first
            level = np.searchsorted(levels, -score[rows])
            rows = level < len(levels)
            shape = (clusters, len(levels))
            flat = cluster * len(levels) + level

            def counted(kept: np.ndarray, flat=flat, shape=shape) -> np.ndarray:
                held = np.bincount(flat[kept], minlength=shape[0] * shape[1])
                scenes = np.flatnonzero(held.reshape(shape).any(axis=1))
                return weight[:, scenes] @ held.reshape(shape)[scenes].astype(np.float64)

            hits, every = counted(rows & label), counted(rows)
            precision = np.cumsum(hits, axis=1) / np.maximum(np.cumsum(every, axis=1), 1e-12)
            area += (precision * hits).sum(axis=1)
            positives += hits.sum(axis=1)
        return ratio(area, positives)

    def _quadratic(self, counts: np.ndarray) -> np.ndarray:
        """w'Cw of every replicate, where C sums `counts` per question by the pair of scenes."""
        by_scene, total = self.resampling.by_scene, np.zeros(len(self.resampling.weight))
        for block in self._blocks:
            shape = len(block.positive), len(block.negative)
            pairs = np.bincount(block.pair, counts[block.part], shape[0] * shape[1])
            met = pairs.reshape(shape).T @ by_scene[block.positive]
            total += np.einsum("cr,cr->r", met, by_scene[block.negative])
        return total


@dataclass(frozen=True)
class _Block:
    """The questions of one stratum: of which scenes, and the pair of scenes of each."""

    part: slice
    positive: np.ndarray
    negative: np.ndarray
    pair: np.ndarray
