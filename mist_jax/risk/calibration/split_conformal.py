"""Split conformal alarms: one level for an episode's largest score (Vovk et al. 2005)."""

from dataclasses import dataclass

import numpy as np

from mist_jax.risk.calibration.order_statistic import NEVER, conformal_quantile
from mist_jax.risk.calibration.paths import ScorePaths
from mist_jax.risk.calibration.platt import logit, sigmoid

# A hair above, so that the score that set the level is not above it by rounding.
HAIR = 1e-6


@dataclass(frozen=True)
class LevelAlarm:
    """An alarm wherever the score is above `level`."""

    level: float

    def raised(self, paths: ScorePaths) -> np.ndarray:
        return paths.score > self.level


@dataclass(frozen=True)
class SplitConformal:
    """One level for all episodes, times and tasks: the rule that gates can hold."""

    name: str = "split conformal"

    def fit(self, clean: ScorePaths, rate: float) -> LevelAlarm:
        return LevelAlarm(conformal_quantile(clean.peaks, rate) + HAIR)


@dataclass(frozen=True)
class AlarmThreshold:
    """Per signed motion the risk above which its gate opens; inf never opens one.

    In at most a fraction `rate` of clean units (episodes, or queries where clean episodes are too
    few) any motion's does, for new units drawn like the `clean_units` that set it.
    """

    threshold: np.ndarray  # float [M]
    rate: float
    unit: str  # "episode", "query", or "none": too few of both
    clean_units: int


def alarm_threshold(clean: ScorePaths, usable: np.ndarray, rate: float) -> AlarmThreshold:
    """The thresholds that at most `rate` of clean episodes cross in any usable motion.

    All usable motions have the same: a risk is a calibrated probability, whatever the motion. With
    fewer than 1 / rate - 1 clean episodes no threshold can promise this, and single clean queries
    stand in for episodes.

    Args:
      clean: scores of clean episodes, the `largest_risk`.
      usable: bool [M]; other motions never open a gate.
      rate: between 0 and 1.
    """
    for unit, scores in (("episode", clean.peaks), ("query", clean.score)):
        level = conformal_quantile(scores, rate)
        if np.isfinite(level) and usable.any():
            crossing = sigmoid(np.asarray(level + HAIR))
            return AlarmThreshold(np.where(usable, crossing, NEVER), rate, unit, len(scores))
    return AlarmThreshold(np.full(len(usable), NEVER), rate, "none", clean.count)


def largest_risk(risk: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """float [Q]: log odds of the largest risk [Q, M] of a usable motion; zero where none is."""
    if not usable.any():
        return np.zeros(len(risk))
    return logit(risk[:, usable].astype(np.float64).max(axis=1))
