"""How good a score is: AUROC, AUPRC, calibration error, and their cluster bootstrap intervals.

Every metric takes weights [R, Q], one row per bootstrap replicate, and returns [R]; the plain
metric is the replicate whose weights are all 1. Scorecards of many detectors go by scenes instead
(`ranking.py`, `resampling.py`). Undefined (one class only) is nan here and null in
files.
"""

import numpy as np

MIN_DEFINED = 0.9  # share of replicates in which a metric must exist to have an interval


def auroc(
    score: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray | None = None,
    stratum: np.ndarray | None = None,
) -> np.ndarray:
    """Probability that a positive scores above a negative of the same stratum; ties count half.

    Strata are folds: scores of different models are not compared, and the downward bias of pooled
    cross-validation (folds whose base rates differ) does not arise.
    """
    weight = _ones(score) if weight is None else weight
    pairs, won = np.zeros(len(weight)), np.zeros(len(weight))
    for rows in _strata(score, stratum):
        positive, negative = _by_threshold(score[rows], label[rows], weight[:, rows])
        below = np.cumsum(negative, axis=1) - 0.5 * negative
        won += (positive * below).sum(axis=1)
        pairs += positive.sum(axis=1) * negative.sum(axis=1)
    return ratio(won, pairs)


def average_precision(
    score: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray | None = None,
    stratum: np.ndarray | None = None,
) -> np.ndarray:
    """Area under precision-recall as the sum of precision times the step in recall (AUPRC).

    Over strata: the mean weighted by their positives.
    """
    weight = _ones(score) if weight is None else weight
    total, positives = np.zeros(len(weight)), np.zeros(len(weight))
    for rows in _strata(score, stratum):
        positive, negative = _by_threshold(score[rows], label[rows], weight[:, rows])
        hits = np.cumsum(positive[:, ::-1], axis=1)
        raised = hits + np.cumsum(negative[:, ::-1], axis=1)
        precision = hits / np.maximum(raised, 1e-12)
        total += (precision * positive[:, ::-1]).sum(axis=1)
        positives += positive.sum(axis=1)
    return ratio(total, positives)


def calibration_error(
    probability: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None, bins: int = 15
) -> np.ndarray:
    """Expected calibration error over `bins` bins of equal width (Guo et al. 2017)."""
    weight = _ones(probability) if weight is None else weight
    bin_of = np.clip((probability * bins).astype(int), 0, bins - 1)
    member = (bin_of[:, None] == np.arange(bins)).astype(np.float64)
    gap = weight @ (member * (probability - label)[:, None])
    return ratio(np.abs(gap).sum(axis=1), weight.sum(axis=1))


def cluster_weights(cluster: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Bootstrap weights [R, Q]: whole clusters are drawn with replacement."""
    _, number = np.unique(cluster, return_inverse=True)
    count = int(number.max()) + 1
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=replicates)
    return drawn[:, number].astype(np.float32)


def interval(values: np.ndarray, coverage: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval of bootstrap `values` [R]; None where they are mostly undefined."""
    defined = values[np.isfinite(values)]
    if len(defined) < MIN_DEFINED * len(values):
        return None
    tail = (1 - coverage) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, nan where the denominator is not positive."""
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1e-12), np.nan)


def _ones(score: np.ndarray) -> np.ndarray:
    return np.ones((1, len(score)))


def _strata(score: np.ndarray, stratum: np.ndarray | None) -> list[np.ndarray]:
    if stratum is None:
        return [np.arange(len(score))]
    return [np.flatnonzero(stratum == value) for value in np.unique(stratum)]


def _by_threshold(
    score: np.ndarray, label: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weight of positives and of negatives [R, thresholds] at each distinct score, ascending."""
    if len(score) == 0:
        nothing = np.zeros((len(weight), 1))
        return nothing, nothing
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf) > 0)
    ordered = weight[:, order].astype(np.float64)
    positive = np.add.reduceat(ordered * label[order], starts, axis=1)
    negative = np.add.reduceat(ordered * ~label[order], starts, axis=1)
    return positive, negative
