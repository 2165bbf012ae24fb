"""Intervals and tests for paired episodes that come in clusters, one per (task, initial state).

Episodes of one cluster are not independent (same scene, other seeds), clusters are: they are what
is resampled, flipped and counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

REPLICATES = 5000


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval; None where there is nothing to average or no interval.

    `n` episodes (or pairs) have a value, in `clusters` clusters.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    clusters: int


def cluster_mean(
    values: np.ndarray,
    cluster: np.ndarray,
    *,
    support: tuple[float, float] | None = None,
    coverage: float = 0.95,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Estimate:
    """Mean of `values` [N] (nan: undefined, left out) with a percentile cluster bootstrap.

    Where all clusters have one mean, as one cluster has, the bootstrap would give an interval of no
    width. A variable with bounded `support` then gets what Wilson's interval allows for the share
    of clusters that differ when none was seen to; one without gets no interval.
    """
    defined = np.isfinite(values)
    values, cluster = np.asarray(values, float)[defined], np.asarray(cluster)[defined]
    names, number = np.unique(cluster, return_inverse=True)
    n, clusters = len(values), len(names)
    if n == 0:
        return Estimate(None, None, None, 0, 0)
    value = float(values.mean())
    total, count = np.bincount(number, values), np.bincount(number).astype(float)
    if np.ptp(total / count) <= 1e-12 * max(1.0, abs(value)):
        if support is None:
            return Estimate(value, None, None, n, clusters)
        unseen = wilson(0, clusters, coverage)[1]
        low, high = support
        return Estimate(
            value, value - unseen * (value - low), value + unseen * (high - value), n, clusters
        )
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=replicates)
    means = (drawn @ total) / (drawn @ count)
    tail = (1 - coverage) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), n, clusters)


def wilson(successes: int, n: int, coverage: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927)."""
    z = stats.norm.ppf(0.5 + coverage / 2)
    share = successes / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def cluster_sums(values: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Sum of `values` in each cluster."""
    _, number = np.unique(cluster, return_inverse=True)
    return np.bincount(number, values)


def sign_flip_p(sums: np.ndarray) -> float:
    """Exact two-sided p-value of a sign-flip test on the clusters' summed differences (integers).

    Under the null hypothesis each cluster's arms could be exchanged. With one pair of yes-or-no
    outcomes per cluster this is McNemar's exact test. The distribution of the signed sum is built
    by convolution.
    """
    sizes = np.abs(np.rint(np.asarray(sums, float)).astype(int))
    assert np.allclose(sizes, np.abs(sums)), "sign_flip_p is for counts"
    reach = int(sizes.sum())
    probability = np.zeros(2 * reach + 1)
    probability[reach] = 1.0
    for size in sizes[sizes > 0]:
        probability = 0.5 * (np.roll(probability, size) + np.roll(probability, -size))
    observed = abs(int(np.rint(np.sum(sums))))
    distance = np.abs(np.arange(-reach, reach + 1))
    return float(min(probability[distance >= observed].sum(), 1.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979), in the order given.

    The k-th smallest of m is multiplied by m - k + 1 and never falls below a smaller one's.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted.tolist()
