"""Everything a scorecard is a function of: out-of-sample forecasts and what really happened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mist_jax.risk.calibration.any_event import any_event
from mist_jax.risk.features import Samples

CLOCK = "clock"  # the step index: a detector that does not beat it is reported as such
TASK_CLOCK = "task x clock"
AROUND = "state + action + task + motion"  # all that can be known without a look inside
ANY = "any event"  # the subject's probability that any usable motion drives an event


@dataclass(frozen=True)
class Forecast:
    """One detector's out-of-sample word on every query.

    `threshold`, of gates, comes from data that the query's scene is not part of. `alarm_score`,
    what alarm rules saw, `alarms`, what each raised at the nominal rate, and `at_rates`, the same
    at other rates, are empty where thresholds alone are known. `score` is a failure detector's own.
    """

    risk: np.ndarray  # float [Q, M]
    threshold: np.ndarray  # float [Q, M]
    alarm_score: np.ndarray | None = None  # float [Q]
    alarms: Mapping[str, np.ndarray] = field(default_factory=dict)  # bool [Q]
    at_rates: Mapping[float, Mapping[str, np.ndarray]] = field(default_factory=dict)
    score: np.ndarray | None = None  # float [Q]

    @classmethod
    def joined(cls, parts: Sequence["Forecast"], order: np.ndarray) -> "Forecast":
        """Forecasts of several parts of the queries as one, its rows put in `order` (int [Q])."""

        def whole(values: Sequence[np.ndarray]) -> np.ndarray:
            return np.concatenate(values)[order]

        first = parts[0]
        return cls(
            risk=whole([part.risk for part in parts]),
            threshold=whole([part.threshold for part in parts]),
            alarm_score=_optional([part.alarm_score for part in parts], order),
            alarms={rule: whole([part.alarms[rule] for part in parts]) for rule in first.alarms},
            at_rates={
                rate: {rule: whole([part.at_rates[rate][rule] for part in parts]) for rule in rules}
                for rate, rules in first.at_rates.items()
            },
            score=_optional([part.score for part in parts], order),
        )


@dataclass(frozen=True)
class Evidence:
    """Forecasts of events by the detector in question, `subject`, and by those beside it.

    `stratum` is int [Q]: which model (fold) judged a query; scores are compared within it. `rate`
    is the nominal share of clean episodes that may be alarmed. `absent` names detectors that had to
    be left out, and why.
    """

    samples: Samples
    forecasts: Mapping[str, Forecast]
    subject: str
    stratum: np.ndarray
    usable: np.ndarray  # bool [M]
    n_positive: np.ndarray  # int [M]
    rate: float = 0.15
    absent: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)  # of detectors, of `groups.GROUPS`

    @property
    def any_risk(self) -> np.ndarray:
        """float [Q]: the subject's risk of any event; nan where nothing was learnt."""
        if self.subject not in self.forecasts:
            return np.full(len(self.samples), np.nan)
        return any_event(self.forecasts[self.subject].risk, self.usable)


def _optional(values: Sequence[np.ndarray | None], order: np.ndarray) -> np.ndarray | None:
    known = [value for value in values if value is not None]
    return np.concatenate(known)[order] if len(known) == len(values) else None
