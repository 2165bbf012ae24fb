"""Platt's calibration, per target, and its one-parameter form: temperature."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize


@dataclass(frozen=True)
class Platt:
    """probability = sigmoid(scale * logit + shift), per signed motion; float32 [M] each."""

    scale: np.ndarray
    shift: np.ndarray

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities float64 [Q, M] of `logits` [Q, M]; float32 would lose the small ones."""
        return sigmoid(self.scale * np.asarray(logits, np.float64) + self.shift)


def fit_platt(logits: np.ndarray, labels: np.ndarray, base_rate: np.ndarray) -> Platt:
    """Platt's calibration of each column of `logits` [Q, M] on `labels` bool [Q, M].

    Platt (1999) with his smoothed targets. A column with one class only, or whose logits rank the
    labels backwards, says nothing: it gets scale 0 and `base_rate` [M], the training rows' own.
    """
    fits = [
        fit_column(logits[:, i].astype(np.float64), labels[:, i], float(base_rate[i]))
        for i in range(labels.shape[1])
    ]
    scale, shift = np.asarray(fits, np.float32).T
    return Platt(scale, shift)


def constant_platt(base_rate: np.ndarray) -> Platt:
    """Calibration that ignores the logits and says the base rate [M]."""
    return Platt(np.zeros(len(base_rate), np.float32), logit(base_rate).astype(np.float32))


def smoothed_rate(labels: np.ndarray) -> np.ndarray:
    """Base rate [M] of `labels` bool [Q, M], half a positive where there is none."""
    return np.maximum(labels.sum(axis=0), 0.5) / max(len(labels), 1)


def smoothed_targets(labels: np.ndarray) -> np.ndarray:
    """Platt's targets [Q]: those of a uniform prior on each class's rate, never quite 0 or 1."""
    positive, negative = labels.sum(), (~labels).sum()
    return np.where(labels, (positive + 1) / (positive + 2), 1 / (negative + 2))


def fit_column(logits: np.ndarray, labels: np.ndarray, base_rate: float) -> tuple[float, float]:
    """Scale and shift of one column [Q]."""
    fallback = (0.0, float(logit(np.asarray(base_rate))))
    if labels.all() or not labels.any() or np.ptp(logits) == 0:
        return fallback
    target = smoothed_targets(labels)
    mean, spread = logits.mean(), logits.std()
    design = np.stack([(logits - mean) / spread, np.ones_like(logits)], axis=1)

    def loss(weights: np.ndarray) -> float:
        score = design @ weights
        return float((np.logaddexp(0, score) - target * score).mean())

    def gradient(weights: np.ndarray) -> np.ndarray:
        return design.T @ (sigmoid(design @ weights) - target) / len(target)

    def curvature(weights: np.ndarray) -> np.ndarray:
        p = sigmoid(design @ weights)
        return design.T @ (design * (p * (1 - p))[:, None]) / len(target)

    # Strictly convex; plain Newton steps overshoot where few positives stand far out.
    start = np.asarray([0.0, logit(np.asarray(target.mean()))])
    weights = minimize(
        loss, start, jac=gradient, hess=curvature, method="trust-exact", options={"gtol": 1e-10}
    ).x
    if weights[0] <= 0:
        return fallback
    return float(weights[0] / spread), float(weights[1] - weights[0] * mean / spread)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def logit(p: np.ndarray) -> np.ndarray:
    """Its inverse, finite at 0 and 1."""
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))
