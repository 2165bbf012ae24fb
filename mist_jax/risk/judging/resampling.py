"""The cluster bootstrap: whole scenes are drawn, and sums per scene are all that it needs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mist_jax.risk.judging.metrics import ratio


@dataclass(frozen=True)
class Resampling:
    """How often each of C scenes is drawn; replicate 0 is the data as they are, every scene once.

    Detectors that are compared share it: their differences are paired.
    """

    weight: np.ndarray  # float64 [1 + replicates, C]

    @classmethod
    def draw(cls, clusters: int, replicates: int, seed: int) -> "Resampling":
        """`clusters` scenes with replacement, in each replicate."""
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=replicates)
        return cls(np.concatenate([np.ones((1, clusters)), drawn]))

    @cached_property
    def by_scene(self) -> np.ndarray:
        """float64 [C, 1 + replicates]."""
        return np.ascontiguousarray(self.weight.T)

    @property
    def clusters(self) -> int:
        """C."""
        return self.weight.shape[1]

    def total(self, values: np.ndarray, cluster: np.ndarray) -> np.ndarray:
        """float [1 + replicates]: the sum of `values` [n], each of scene `cluster` (int [n])."""
        return self.weight @ np.bincount(cluster, values, self.clusters)

    def share(self, part: np.ndarray, whole: np.ndarray, cluster: np.ndarray) -> np.ndarray:
        """float [1 + replicates]: total of `part` [n] over that of `whole` [n]; nan of nothing."""
        return ratio(self.total(part, cluster), self.total(whole, cluster))

    def calibration_error(
        self, probability: np.ndarray, label: np.ndarray, cluster: np.ndarray, bins: int = 15
    ) -> np.ndarray:
        """[1 + replicates]: calibration error expected over `bins` (Guo et al. 2017)."""
        bin_of = np.clip((probability * bins).astype(int), 0, bins - 1)
        gap = np.bincount(
            cluster * bins + bin_of, probability - label, self.clusters * bins
        ).reshape(self.clusters, bins)
        count = self.total(np.ones(len(label)), cluster)
        return ratio(np.abs(self.weight @ gap).sum(axis=1), count)
