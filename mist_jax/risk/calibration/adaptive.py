"""Adaptive conformal inference: the level follows the alarms that turn out to be false."""

from dataclasses import dataclass

import numpy as np

from mist_jax.risk.calibration.order_statistic import conformal_quantile
from mist_jax.risk.calibration.paths import ScorePaths
from mist_jax.risk.calibration.split_conformal import HAIR

STEP = 0.02  # gamma


@dataclass(frozen=True)
class AdaptiveAlarm:
    """Judges episodes in the order in which they come."""

    peaks: np.ndarray  # float [episodes] of the clean ones that it begins with
    rate: float
    step: float

    def raised(self, paths: ScorePaths) -> np.ndarray:
        """bool [Q]; whether an episode was clean is used after its end alone."""
        raised = np.zeros(len(paths), bool)
        known, level = list(self.peaks), self.rate
        ends = np.append(paths.starts[1:], len(paths))
        for start, end in zip(paths.starts, ends, strict=True):
            score = paths.score[start:end]
            above = score > conformal_quantile(np.asarray(known), level) + HAIR
            raised[start:end] = above
            if paths.clean[start]:
                level += self.step * (self.rate - above.any())
                known.append(score.max())
        return raised


@dataclass(frozen=True)
class AdaptiveConformal:
    """Gibbs & Candes 2021: after each clean episode, level += step * (rate - it was alarmed).

    Over any T clean episodes, whatever they are, the share alarmed differs from `rate` by at most
    (max(rate, 1 - rate) + step) / (step T) (their proposition 4.1). Peaks of clean episodes join
    those that quantiles are taken of. Nothing is promised of one episode, and the first ones of a
    new kind pay for what the later ones gain.
    """

    step: float = STEP
    name: str = "adaptive conformal"

    def fit(self, clean: ScorePaths, rate: float) -> AdaptiveAlarm:
        return AdaptiveAlarm(clean.peaks, rate, self.step)
