"""What an alarm rule is: fitted on clean episodes, it says at which queries to raise an alarm."""

from typing import Protocol

import numpy as np

from mist_jax.risk.calibration.paths import ScorePaths


class Alarm(Protocol):
    """A fitted rule."""

    def raised(self, paths: ScorePaths) -> np.ndarray:
        """bool [Q]: an alarm is raised at this query.

        What is said of a query depends on its episode up to it, and of earlier episodes on all
        that became known by their ends.
        """
        ...


class AlarmRule(Protocol):
    """One way to turn scores into alarms; a row of `ALARM_RULES`."""

    @property
    def name(self) -> str: ...

    def fit(self, clean: ScorePaths, rate: float) -> Alarm:
        """From clean episodes that no member was trained or calibrated on.

        Of clean episodes that are exchangeable with these, at most `rate` raise an alarm at any
        query, on average over the episodes that the rule was fitted to.
        """
        ...
