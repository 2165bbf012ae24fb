"""A one-sided conformal band over time, as SAFE's, with the exact order statistic."""

from dataclasses import dataclass

import numpy as np

from mist_jax.risk.calibration.order_statistic import conformal_quantile
from mist_jax.risk.calibration.paths import ScorePaths
from mist_jax.risk.calibration.split_conformal import HAIR

LEAST_SPREAD = 0.1  # of the spread over all times: no time is so quiet that a whisper alarms


@dataclass(frozen=True)
class BandAlarm:
    """An alarm wherever the score is above centre + width * spread of the query's number."""

    centre: np.ndarray  # float [query number]; the last holds from there on
    spread: np.ndarray
    width: float

    def raised(self, paths: ScorePaths) -> np.ndarray:
        return standardised(paths, self.centre, self.spread) > self.width


@dataclass(frozen=True)
class FunctionalBand:
    """Functional conformal prediction (Diquigiovanni et al. 2021), one-sided as SAFE has it.

    Half of the clean episodes give the centre (mean) and the spread (standard deviation) of the
    score at each query number. The other half gives the width: the conformal quantile of an
    episode's largest standardised score. That is a function of a whole path, so that the promise
    is split conformal's, whatever the paths look like and however long they are.
    """

    name: str = "functional band"

    def fit(self, clean: ScorePaths, rate: float) -> BandAlarm:
        shape, level = clean.halves()
        centre, spread = _moments(shape)
        score = standardised(level, centre, spread)
        return BandAlarm(
            centre, spread, conformal_quantile(level.with_score(score).peaks, rate) + HAIR
        )


def standardised(paths: ScorePaths, centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """float [Q]: scores in spreads above the centre of their query number."""
    at = np.minimum(paths.query, len(centre) - 1)
    return (paths.score - centre[at]) / spread[at]


def _moments(paths: ScorePaths) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation at each query number that two or more episodes reach."""
    if len(paths) == 0:
        return np.zeros(1), np.ones(1)
    reach = np.bincount(paths.query)
    last = max(int(np.flatnonzero(reach >= 2).max(initial=0)), 0)
    at = np.minimum(paths.query, last)
    count = np.maximum(np.bincount(at, minlength=last + 1), 1)
    mean = np.bincount(at, paths.score, last + 1) / count
    square = np.bincount(at, (paths.score - mean[at]) ** 2, last + 1) / count
    least = LEAST_SPREAD * np.std(paths.score) or 1.0
    return mean, np.maximum(np.sqrt(square), least)
