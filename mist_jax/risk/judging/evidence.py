"""Everything a scorecard is a function of: out-of-sample forecasts and what really happened."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mist_jax.risk.features import Samples

CLOCK = "clock"  # the step index: a detector that does not beat it is reported as such


@dataclass(frozen=True)
class Forecast:
    """One detector's out-of-sample word on every query."""

    risk: np.ndarray  # float [Q, A]
    threshold: np.ndarray  # float [Q, A], from data that the query's scene is not part of


@dataclass(frozen=True)
class Evidence:
    """Forecasts of contacts by the detector in question, `subject`, and by those beside it.

    `stratum` is int [Q]: which model (fold) judged a query; scores are compared within it.
    """

    samples: Samples
    forecasts: Mapping[str, Forecast]
    subject: str
    stratum: np.ndarray
    usable: np.ndarray  # bool [A]
    n_positive: np.ndarray  # int [A]

    @property
    def largest_risk(self) -> np.ndarray:
        """float [Q]: of the subject, over dimensions; nan where nothing was learnt."""
        if self.subject not in self.forecasts:
            return np.full(len(self.samples), np.nan)
        return self.forecasts[self.subject].risk.max(axis=1)
