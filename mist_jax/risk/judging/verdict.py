"""Three things can be said of a comparison, and one of them is that nothing can."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

Verdict = Literal["better", "not better", "cannot be judged"]
CANNOT: Verdict = "cannot be judged"
# A percentile bootstrap over K clusters reaches 1.96 sqrt((K - 1) / K) standard errors, by which a
# t distribution with K - 1 degrees of freedom is covered to 90% at K = 10 and to 84% at K = 5,
# where 95% are asked; an exact sign test on five clusters cannot reach p = 0.05 at all.
MIN_CLUSTERS = 10


def verdict_of(low: float | None, clusters: int) -> Verdict:
    """From the lower end of the interval of what one has more than the other; None: undefined."""
    if low is None or clusters < MIN_CLUSTERS:
        return CANNOT
    return "better" if low > 0 else "not better"


def clusters_compared(label: np.ndarray, cluster: np.ndarray, stratum: np.ndarray) -> int:
    """`clusters_of_both` of those rows alone whose stratum has both classes: others meet nobody."""
    _, code = np.unique(stratum, return_inverse=True)
    positive = np.bincount(code, label)
    met = ((positive > 0) & (positive < np.bincount(code)))[code]
    return clusters_of_both(label[met], cluster[met])


def by_verdict(gaps: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[str], list[str]]:
    """Names of those that are better, not better, and not to be judged, in their order."""

    def named(verdict: Verdict) -> list[str]:
        return [name for name, gap in gaps.items() if gap["verdict"] == verdict]

    return named("better"), named("not better"), named(CANNOT)


def clusters_of_both(label: np.ndarray, cluster: np.ndarray) -> int:
    """How many clusters an AUROC rests on: those with a positive, or with a negative, if fewer."""
    return min(len(np.unique(cluster[label])), len(np.unique(cluster[~label])))
