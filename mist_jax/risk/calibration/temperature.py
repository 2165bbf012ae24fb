"""Temperature scaling (Guo et al. 2017): one number per target, the logits keep their zero."""

import numpy as np
from scipy.optimize import minimize_scalar

from mist_jax.risk.calibration.platt import Platt, smoothed_targets

COLDEST, HOTTEST = 1e-3, 1e3  # 1 / temperature is looked for between these


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> Platt:
    """The temperature of each column of `logits` [Q, M] that `labels` bool [Q, M] like best.

    It is 1 / scale of the result, whose shift is 0. The loss is convex in the scale; on Platt's
    smoothed targets it has a finite minimum even where the logits separate the labels.
    """
    scale = [_fit_column(logits[:, i], labels[:, i]) for i in range(labels.shape[1])]
    return Platt(np.asarray(scale, np.float32), np.zeros(len(scale), np.float32))


def log_loss(logits: np.ndarray, target: np.ndarray) -> float:
    """Total cross-entropy (nats) of `logits` [Q] on `target` [Q] between 0 and 1."""
    return float((np.logaddexp(0, logits) - target * logits).sum())


def _fit_column(logits: np.ndarray, labels: np.ndarray) -> float:
    column, target = logits.astype(np.float64), smoothed_targets(labels)
    found = minimize_scalar(
        lambda log_scale: log_loss(np.exp(log_scale) * column, target),
        bounds=(np.log(COLDEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return float(np.exp(found.x))
