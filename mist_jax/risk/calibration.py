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
class AlarmThreshold:
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


def calibration(
    scores: np.ndarray, labels: np.ndarray, base_rate: np.ndarray, usable: np.ndarray
) -> Platt:
    """`fit_platt`, where a dimension that is not `usable` (bool [A]) reports its base rate."""
    fitted, constant = fit_platt(scores, labels, base_rate), constant_platt(base_rate)
    return Platt(
        np.where(usable, fitted.scale, constant.scale),
        np.where(usable, fitted.shift, constant.shift),
    )


def smoothed_rate(labels: np.ndarray) -> np.ndarray:
    """Base rate [A] of `labels` bool [Q, A], half a positive where there is none."""
    return np.maximum(labels.sum(axis=0), 0.5) / max(len(labels), 1)


def alarm_threshold(
    risk: np.ndarray,
    episode: np.ndarray,
    clean: np.ndarray,
    usable: np.ndarray,
    base_rate: np.ndarray,
    rate: float,
) -> AlarmThreshold:
    """The thresholds that at most `rate` of clean episodes cross in any usable dimension.

    Split conformal (Vovk et al. 2005): an episode's score is the largest ratio, over its queries
    and the usable dimensions, of the odds of a contact to that dimension's base odds; one ratio
    serves all dimensions. With fewer than 1 / rate - 1 clean episodes no threshold can promise
    this, and single clean queries stand in for episodes.

    Args:
      risk: [Q, A] out-of-sample probabilities.
      episode: int [Q], the episode of each query.
      clean: bool [episodes].
      usable: bool [A]; other dimensions never raise an alarm.
      base_rate: [A], of the training rows.
      rate: between 0 and 1.
    """
    rows = clean[episode]
    excess = (_logit(risk[rows].astype(np.float64)) - _logit(base_rate))[:, usable]
    number = episode[rows]
    by_query = excess.max(axis=1, initial=-np.inf)
    by_episode = np.asarray([by_query[number == e].max() for e in np.unique(number)])
    for unit, scores in (("episode", by_episode), ("query", by_query)):
        level = int(np.ceil((len(scores) + 1) * (1 - rate)))
        if len(scores) and level <= len(scores) and usable.any():
            # A hair above, so that the score that set the threshold is not above it by rounding.
            log_ratio = np.sort(scores)[level - 1] + 1e-6
            crossing = _sigmoid(_logit(base_rate) + log_ratio)
            return AlarmThreshold(np.where(usable, crossing, NEVER), rate, unit, len(scores))
    return AlarmThreshold(np.full(risk.shape[1], NEVER), rate, "none", len(by_episode))


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
