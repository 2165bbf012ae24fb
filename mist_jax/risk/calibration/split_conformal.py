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
    """The rule whose alarms are a threshold per motion, and so the one that gates can hold."""

    name: str = "split conformal"

    def fit(self, clean: ScorePaths, rate: float) -> LevelAlarm:
        return LevelAlarm(conformal_quantile(clean.peaks, rate) + HAIR)


@dataclass(frozen=True)
class AlarmThreshold:
    """Per signed motion the risk above which an alarm is raised; inf never raises one.

    At most a fraction `rate` of clean units (episodes, or queries where clean episodes are too few)
    raises any alarm, for new units drawn like the `clean_units` that set it.
    """

    threshold: np.ndarray  # float [M]
    rate: float
    unit: str  # "episode", "query", or "none": too few of both
    clean_units: int


def alarm_threshold(
    clean: ScorePaths, base_rate: np.ndarray, usable: np.ndarray, rate: float
) -> AlarmThreshold:
    """The thresholds that at most `rate` of clean episodes cross in any usable motion.

    With fewer than 1 / rate - 1 clean episodes no threshold can promise this, and single clean
    queries stand in for episodes.

    Args:
      clean: scores of clean episodes, the `excess` of risk over `base_rate`.
      base_rate: [M].
      usable: bool [M]; other motions never raise an alarm.
      rate: between 0 and 1.
    """
    for unit, scores in (("episode", clean.peaks), ("query", clean.score)):
        level = conformal_quantile(scores, rate)
        if np.isfinite(level) and usable.any():
            crossing = sigmoid(logit(base_rate) + level + HAIR)
            return AlarmThreshold(np.where(usable, crossing, NEVER), rate, unit, len(scores))
    return AlarmThreshold(np.full(len(usable), NEVER), rate, "none", clean.count)
