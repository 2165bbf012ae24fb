"""From scores to probabilities, and from probabilities to thresholds with a stated alarm rate."""

from dataclasses import dataclass

import numpy as np

NEVER = np.inf


@dataclass(frozen=True)
class Platt:
    """probability = sigmoid(scale * logit + shift), per dimension."""

    scale: np.ndarray  # float32 [A]
    shift: np.ndarray  # float32 [A]

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities [Q, A] of `logits` [Q, A]."""
        return _sigmoid(self.scale * logits + self.shift)


@dataclass(frozen=True)
class GateThreshold:
    """Per dimension the risk above which an alarm is raised; inf never raises one.

    At most a fraction `rate` of clean units (episodes, or queries where clean episodes are too few)
    raises any alarm, for new units drawn like the `clean_units` that set it.
    """

    threshold: np.ndarray  # float [A]
    rate: float
    unit: str  # "episode", "query", or "none": too few of both
    clean_units: int


def fit_platt(logits: np.ndarray, labels: np.ndarray, base_rate: np.ndarray) -> Platt:
    """Platt's calibration of each column of `logits` [Q, A] on `labels` bool [Q, A].

    Platt (1999) with his smoothed targets. A column with one class only, or whose logits rank the
    labels backwards, says nothing: it gets scale 0 and `base_rate` [A], the training rows' own.
    """
    fits = [
        _fit_column(logits[:, i].astype(np.float64), labels[:, i], float(base_rate[i]))
        for i in range(labels.shape[1])
    ]
    scale, shift = np.asarray(fits, np.float32).T
    return Platt(scale, shift)


def constant_platt(base_rate: np.ndarray) -> Platt:
    """Calibration that ignores the logits."""
    return Platt(np.zeros(len(base_rate), np.float32), _logit(base_rate).astype(np.float32))


def smoothed_rate(labels: np.ndarray) -> np.ndarray:
    """Base rate [A] of `labels` bool [Q, A], half a positive where there is none."""
    return np.maximum(labels.sum(axis=0), 0.5) / max(len(labels), 1)


def gate_threshold(
    risk: np.ndarray,
    episode: np.ndarray,
    clean: np.ndarray,
    usable: np.ndarray,
    rate: float,
) -> GateThreshold:
    """The threshold that at most `rate` of clean episodes cross in any usable dimension.

    Split conformal (Vovk et al. 2005) on the peak risk of each clean episode, all dimensions at
    once: an episode's score is the largest rank that its peak reaches in any dimension. With fewer
    than 1 / rate - 1 clean episodes no threshold can promise this, and single clean queries stand
    in for episodes.

    Args:
      risk: [Q, A] out-of-sample probabilities.
      episode: int [Q], the episode of each query.
      clean: bool [episodes].
      usable: bool [A]; other dimensions never raise an alarm.
    """
    rows = clean[episode]
    number = episode[rows]
    peaks = np.stack([risk[rows][number == e].max(axis=0) for e in np.unique(number)] or [risk[:0]])
    for unit, scores in (("episode", peaks), ("query", risk[rows])):
        scores = scores.reshape(-1, risk.shape[1])
        level = int(np.ceil((len(scores) + 1) * (1 - rate)))
        if len(scores) and level <= len(scores) and usable.any():
            threshold = np.where(usable, _simultaneous(scores, usable, level), NEVER)
            return GateThreshold(threshold, rate, unit, len(scores))
    return GateThreshold(np.full(risk.shape[1], NEVER), rate, "none", len(peaks))


def _simultaneous(scores: np.ndarray, usable: np.ndarray, level: int) -> np.ndarray:
    """Thresholds [A] that `level` of the rows of `scores` [M, A] cross in no usable dimension."""
    ordered = np.sort(scores, axis=0)
    rank = np.stack(
        [np.searchsorted(ordered[:, i], scores[:, i], side="left") for i in range(scores.shape[1])],
        axis=1,
    )
    highest = np.sort(rank[:, usable].max(axis=1))
    return ordered[highest[level - 1]]


def _fit_column(logits: np.ndarray, labels: np.ndarray, base_rate: float) -> tuple[float, float]:
    fallback = (0.0, float(_logit(np.asarray(base_rate))))
    positive, negative = labels.sum(), (~labels).sum()
    if positive == 0 or negative == 0 or np.ptp(logits) == 0:
        return fallback
    target = np.where(labels, (positive + 1) / (positive + 2), 1 / (negative + 2))
    # Newton's method on standardised logits: two parameters, a strictly convex loss.
    mean, spread = logits.mean(), logits.std()
    design = np.stack([(logits - mean) / spread, np.ones_like(logits)], axis=1)
    weights = np.asarray([0.0, _logit(np.asarray(target.mean()))])
    for _ in range(100):
        probability = _sigmoid(design @ weights)
        gradient = design.T @ (probability - target)
        curvature = design.T @ (design * (probability * (1 - probability))[:, None])
        step = np.linalg.solve(curvature + 1e-9 * len(logits) * np.eye(2), gradient)
        length = np.abs(step).max()
        weights = weights - step / max(1.0, length / 2)  # damped while far away
        if length < 1e-9:
            break
    if weights[0] <= 0:
        return fallback
    return float(weights[0] / spread), float(weights[1] - weights[0] * mean / spread)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))
