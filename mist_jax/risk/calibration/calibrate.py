"""The calibration of a detector: Platt's or a temperature, per target, by what the data say."""

from typing import Literal, get_args

import numpy as np

from mist_jax.risk.calibration.platt import Platt, constant_platt, fit_platt, smoothed_targets
from mist_jax.risk.calibration.temperature import fit_temperature, log_loss

Method = Literal["best", "platt", "temperature"]
METHODS: tuple[str, ...] = get_args(Method)


def calibrate(
    scores: np.ndarray,
    labels: np.ndarray,
    base_rate: np.ndarray,
    usable: np.ndarray,
    method: Method = "best",
) -> Platt:
    """Calibration of `scores` [Q, M] on `labels` bool [Q, M].

    A motion that is not `usable` (bool [M]), has one class only or is ranked backwards reports its
    `base_rate` [M]. "best" takes, per motion, Platt's where its second parameter is worth its price
    by Schwarz's criterion (1978) on these rows, else the temperature.
    """
    platt, constant = fit_platt(scores, labels, base_rate), constant_platt(base_rate)
    speaks = usable & (platt.scale > 0)
    scale = np.where(speaks, platt.scale, constant.scale)
    shift = np.where(speaks, platt.shift, constant.shift)
    for i in np.flatnonzero(speaks) if method != "platt" else ():
        column = slice(i, i + 1)
        heat = fit_temperature(scores[:, column], labels[:, column])
        if method == "temperature" or _simpler(scores[:, i], labels[:, i], heat, platt, i):
            scale[i], shift[i] = heat.scale[0], 0.0
    return Platt(scale.astype(np.float32), shift.astype(np.float32))


def _simpler(score: np.ndarray, label: np.ndarray, heat: Platt, platt: Platt, i: np.intp) -> bool:
    target = smoothed_targets(label)
    one = log_loss(heat.scale[0] * score.astype(np.float64), target)
    two = log_loss(platt.scale[i] * score.astype(np.float64) + platt.shift[i], target)
    return 2 * (one - two) < np.log(len(score))
