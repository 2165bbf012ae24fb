"""The questions that a scorecard puts to the same forecasts: which events, of which queries."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mist_jax.risk.calibration.any_event import any_event
from mist_jax.risk.features import Samples
from mist_jax.risk.judging.evidence import Evidence
from mist_jax.risk.judging.ranking import Ranking
from mist_jax.risk.judging.resampling import Resampling
from mist_jax.risk.judging.verdict import MIN_CLUSTERS, clusters_compared

FIRST, ALL, UNPUSHED = "first_events", "all_events", "first_events_unpushed"
WITHIN_TASK, WITHIN_FOLD = "auroc_within_task", "auroc"
MEAN, ANY_EVENT = "mean", "any"  # rows beside those of the motions


@dataclass(frozen=True)
class View:
    """Labels of the queries that are judged: `rows` int [n], `risk` bool [n, M], `any` bool [n]."""

    rows: np.ndarray
    risk: np.ndarray
    any: np.ndarray


def views_of(samples: Samples) -> Mapping[str, View]:
    """First events, all events, and first events in which no perturbation had a hand.

    Of the last, queries ahead of an event that a perturbation helped to bring about are dropped.
    """
    labels = samples.labels
    pushed = labels["first"].exogenous & labels["first"].any_risk
    chosen = {
        FIRST: ("first", labels["first"].valid),
        ALL: ("all", labels["all"].valid),
        UNPUSHED: ("first", labels["first"].valid & ~pushed),
    }
    views = {}
    for name, (target, valid) in chosen.items():
        rows, label = np.flatnonzero(valid), labels[target]
        views[name] = View(rows, label.risk[rows], label.any_risk[rows])
    return views


@dataclass(frozen=True)
class Judgeable:
    """What one view can be judged on, within tasks: the same for every detector.

    `positives` and `scenes` are int [M]: queries ahead of an event, and scenes that hold the rarer
    class among the queries that are compared. `motions` (bool [M]) are those that the mean is over:
    usable ones with `MIN_CLUSTERS` scenes or more.
    """

    positives: np.ndarray
    scenes: np.ndarray
    motions: np.ndarray

    @classmethod
    def of(
        cls, view: View, usable: np.ndarray, stratum: np.ndarray, cluster: np.ndarray
    ) -> "Judgeable":
        """`usable` is bool [M]; `stratum` and `cluster` are int [Q]."""
        place = cluster[view.rows], stratum[view.rows]
        scenes = np.asarray([clusters_compared(column, *place) for column in view.risk.T])
        return cls(view.risk.sum(axis=0), scenes, usable & (scenes >= MIN_CLUSTERS))


@dataclass(frozen=True)
class Aurocs:
    """Of one view and one way to compare: name of a detector to float [M + 2, 1 + replicates].

    The last two rows are the mean over the motions that can be judged, and any event.
    """

    values: Mapping[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]


def aurocs(
    evidence: Evidence,
    view: View,
    judged: np.ndarray,
    stratum: np.ndarray,
    cluster: np.ndarray,
    resampling: Resampling,
) -> Aurocs:
    """AUROC of every detector; pairs are compared within `stratum` (int [Q]) only.

    The mean is over the motions `judged` (bool [M]).
    """
    rows, usable = view.rows, evidence.usable
    place = cluster[rows], stratum[rows], resampling
    asked = {i: Ranking(view.risk[:, i], *place) for i in np.flatnonzero(usable)}
    either = Ranking(view.any, *place)
    values = {}
    for name, forecast in evidence.forecasts.items():
        table = np.full((len(usable) + 2, len(resampling.weight)), np.nan)
        for i, ranking in asked.items():
            table[i] = ranking.auroc(forecast.risk[rows, i])
        if judged.any():
            table[-2] = table[:-2][judged].mean(axis=0)
        if usable.any():
            table[-1] = either.auroc(any_event(forecast.risk[rows], usable))
        values[name] = table
    return Aurocs(values)
