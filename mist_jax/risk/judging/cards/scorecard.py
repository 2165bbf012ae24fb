"""All that is said about forecasts of events, from out-of-sample ones alone: `metrics.json`.

In keys and sentences "head" is the part of the subject: the detector that ships and is in question.
Headline figures are about first events and compare queries within one task and fold, where neither
the task's difficulty nor another model's scale helps.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.risk.calibration.any_event import any_event
from mist_jax.risk.calibration.registry import ALARM_RULES, SPLIT_CONFORMAL
from mist_jax.risk.features import Samples
from mist_jax.risk.judging.announcing import (
    AHEAD_STEPS,
    announced_at,
    announcing,
    first_event_step,
)
from mist_jax.risk.judging.cards.sentences import sentences
from mist_jax.risk.judging.described import described, judge_difference
from mist_jax.risk.judging.evidence import ANY, CLOCK, Evidence, Forecast
from mist_jax.risk.judging.groups import OTHERS
from mist_jax.risk.judging.metrics import average_precision
from mist_jax.risk.judging.ranking import Ranking
from mist_jax.risk.judging.resampling import Resampling
from mist_jax.risk.judging.verdict import MIN_CLUSTERS, clusters_compared
from mist_jax.risk.judging.views import (
    ANY_EVENT,
    FIRST,
    MEAN,
    WITHIN_FOLD,
    WITHIN_TASK,
    Aurocs,
    Judgeable,
    View,
    aurocs,
    views_of,
)
from mist_jax.signed import named

REPLICATES = 1000
GATES = "gates"  # thresholds per motion, beside the alarm rules
NOTHING = "no motion has enough positives"
NO_MEAN = f"no motion has {MIN_CLUSTERS} scenes with an event and as many without"
ROWS = (*SIGNED_MOTIONS, MEAN, ANY_EVENT)


def scorecard(evidence: Evidence, *, replicates: int = REPLICATES, seed: int = 0) -> dict[str, Any]:
    """The metrics of every detector, per signed motion, on average and of any event, JSON-ready.

    A value is {"value", "interval"} with a 95% cluster bootstrap over (suite, task, initial state),
    or {"value": null, "reason"}. Every difference has a `verdict` (`judging/verdict.py`); that of
    the card says the same in words. The mean of a view is over the motions that can be judged in it
    (`motions`: "in_mean"), for all detectors alike.
    """
    samples, scene = evidence.samples, evidence.samples.scene
    resampling = Resampling.draw(int(scene.max()) + 1, replicates, seed)
    of_episode = np.zeros(len(samples.episodes), int)
    of_episode[samples.episode] = scene
    task = samples.task
    strata = {
        WITHIN_TASK: evidence.stratum * (int(task.max()) + 1) + task,
        WITHIN_FOLD: evidence.stratum,
    }
    views = views_of(samples)
    judgeable = {
        name: Judgeable.of(view, evidence.usable, strata[WITHIN_TASK], scene)
        for name, view in views.items()
    }
    ranked = {
        (view, how): aurocs(evidence, chosen, judgeable[view].motions, stratum, scene, resampling)
        for view, chosen in views.items()
        for how, stratum in strata.items()
    }
    first = views[FIRST]
    alarms = {
        name: _alarms(forecast, evidence, of_episode, resampling)
        for name, forecast in evidence.forecasts.items()
    }
    card: dict[str, Any] = {
        "subject": evidence.subject,
        "queries": len(first.rows),
        "queries_masked": len(samples) - len(first.rows),
        "episodes": len(samples.episodes),
        "clean_episodes": int(samples.clean.sum()),
        "first_events": int(np.isfinite(first_event_step(samples)).sum()),
        "scenes": len(np.unique(scene)),
        "tasks": len(np.unique(task)),
        "horizon_steps": samples.horizon,
        "target": samples.target,
        "share": samples.share,
        "alarm_rate": evidence.rate,
        "announced_by": _announced_by(evidence),
        "ahead_steps": AHEAD_STEPS,
        "n_positive": _named(evidence.n_positive.tolist()),
        "fallback_to_base_rate": named(~evidence.usable),
        "motions": {view: _motions(told) for view, told in judgeable.items()},
        "base_rate": _base_rate(first, scene, resampling),
        "detectors": {
            name: {
                "group": evidence.groups.get(name, OTHERS),
                **_calibration(forecast, first, evidence, scene, resampling),
                **{view: _ranking(ranked, view, name, evidence) for view in views},
                "alarms": {
                    rule: {figure: described(value, "no such episodes")
                           for figure, value in figures.items()}
                    for rule, figures in alarms[name].items()
                },
                "alarms_raised": _raised(forecast, samples),
                "announced_at_rate": _at_rate(forecast, evidence),
            }
            for name, forecast in evidence.forecasts.items()
        },
        "failure_within_horizon": _failure(evidence),
    }  # fmt: skip
    if evidence.subject in evidence.forecasts:
        card["coverage"] = _coverage(evidence, of_episode, resampling)
        others = [name for name in evidence.forecasts if name != evidence.subject]
        clusters = {
            (view, how): _clusters(views[view], judgeable[view], stratum, scene)
            for view in views
            for how, stratum in strata.items()
        }
        card["head_minus"] = {
            view: {
                how: {
                    other: _difference(ranked[view, how], other, evidence, clusters[view, how])
                    for other in others
                }
                for how in strata
            }
            for view in views
        }
        card["head_minus_announced"] = {
            other: _announced_more(alarms, other, evidence, of_episode) for other in others
        }
        card["verdict"] = sentences(card, evidence.usable)
    return card


def _ranking(
    ranked: Mapping[tuple[str, str], Aurocs], view: str, name: str, evidence: Evidence
) -> dict[str, Any]:
    """{"mean", "any", "motions"} of one detector, each compared both ways."""
    tables = {how: values[name] for (of, how), values in ranked.items() if of == view}
    every = {
        row: {how: described(table[i], _reason(evidence, i)) for how, table in tables.items()}
        for i, row in enumerate(ROWS)
    }
    return {
        MEAN: every.pop(MEAN),
        ANY_EVENT: every.pop(ANY_EVENT),
        "motions": every,
    }


def _calibration(
    forecast: Forecast, view: View, evidence: Evidence, scene: np.ndarray, resampling: Resampling
) -> dict[str, Any]:
    """Calibration error and Brier score per motion and of any event, and areas under PR."""
    cluster = scene[view.rows]
    risk = forecast.risk[view.rows].astype(np.float64)
    either = any_event(risk, evidence.usable)
    columns = [(name, risk[:, i], view.risk[:, i], True) for i, name in enumerate(SIGNED_MOTIONS)]
    if evidence.usable.any():
        columns.append((ANY_EVENT, either, view.any, False))
    stratum = evidence.stratum[view.rows]
    result: dict[str, Any] = {}
    for i, (name, said, label, motion) in enumerate(columns):
        error = resampling.calibration_error(said, label, cluster)
        square = resampling.share((said - label) ** 2, np.ones(len(said)), cluster)
        if motion and not evidence.usable[i]:
            area = np.full(1, np.nan)
        elif motion:
            area = average_precision(said, label, stratum=stratum)
        else:
            area = Ranking(label, cluster, stratum, resampling).average_precision(said)
        result[name] = {
            "ece": described(error, "no queries"),
            "brier": described(square, "no queries"),
            "auprc": described(area, _reason(evidence, i if motion else len(ROWS) - 1)),
        }
        if motion and result[name]["auprc"]["value"] is not None:
            result[name]["auprc"]["reason"] = "not resampled"
    return {"calibration": result}


def _alarms(
    forecast: Forecast, evidence: Evidence, of_episode: np.ndarray, resampling: Resampling
) -> dict[str, dict[str, np.ndarray]]:
    """Figures [1 + replicates] of every alarm rule, and of the gates."""
    samples = evidence.samples
    return {
        rule: announcing(samples, rows, of_episode).figures(resampling)
        for rule, rows in _rows_raised(forecast, samples).items()
    }


def _rows_raised(forecast: Forecast, samples: Samples) -> dict[str, np.ndarray]:
    """bool [Q] of each rule."""
    above = (forecast.risk > forecast.threshold).any(axis=1) & samples.label.open
    return {**forecast.alarms, GATES: above}


def _announced_by(evidence: Evidence) -> str:
    """The rule of the headline: split conformal, or gates where thresholds alone are known."""
    known = all(forecast.alarms for forecast in evidence.forecasts.values())
    return SPLIT_CONFORMAL.name if known else GATES


def _at_rate(forecast: Forecast, evidence: Evidence) -> float | None:
    """First events announced ahead at the level that alarms the nominal share of these episodes."""
    if forecast.alarm_score is None:
        return None
    value = announced_at(evidence.samples, forecast.alarm_score, evidence.rate)
    return round(value, 6) if np.isfinite(value) else None


def _coverage(
    evidence: Evidence, of_episode: np.ndarray, resampling: Resampling
) -> dict[str, list[dict[str, Any]]]:
    """Of the subject and every rule: the share of clean episodes alarmed beside the nominal one."""
    forecast = evidence.forecasts[evidence.subject]
    result: dict[str, list[dict[str, Any]]] = {}
    for rule in ALARM_RULES:
        for rate, raised in forecast.at_rates.items():
            told = announcing(evidence.samples, raised[rule], of_episode).figures(resampling)
            alarmed = described(told["clean_episodes_alarmed"], "no clean episodes")
            result.setdefault(rule, []).append({"nominal": rate, "alarmed": alarmed})
    return result


def _difference(
    ranked: Aurocs, other: str, evidence: Evidence, clusters: list[int]
) -> dict[str, Any]:
    """Paired AUROC differences: both detectors are scored on the same resampled scenes."""
    gap = ranked[evidence.subject] - ranked[other]
    values = {row: described(gap[i], _reason(evidence, i)) for i, row in enumerate(ROWS)}
    for value, count in zip(values.values(), clusters, strict=True):
        judge_difference(value, count)
    return values


def _clusters(
    view: View, judgeable: Judgeable, stratum: np.ndarray, scene: np.ndarray
) -> list[int]:
    """How many scenes each of `ROWS` rests on; the mean on as many as its scarcest motion."""
    place = scene[view.rows], stratum[view.rows]
    of_mean = judgeable.scenes[judgeable.motions].min(initial=len(scene))
    return [
        *(clusters_compared(column, *place) for column in view.risk.T),
        int(of_mean) if judgeable.motions.any() else 0,
        clusters_compared(view.any, *place),
    ]


def _motions(judgeable: Judgeable) -> dict[str, Any]:
    """Of each motion: queries ahead of an event, scenes it rests on, and if the mean has it."""
    columns = judgeable.positives, judgeable.scenes, judgeable.motions
    return {
        name: {"positives": int(queries), "scenes": int(scenes), "in_mean": bool(ok)}
        for name, queries, scenes, ok in zip(SIGNED_MOTIONS, *columns, strict=True)
    }


def _raised(forecast: Forecast, samples: Samples) -> dict[str, int]:
    """Queries at which each rule raised an alarm; 0: its threshold was never crossed."""
    return {
        rule: int((rows & samples.label.open).sum())
        for rule, rows in _rows_raised(forecast, samples).items()
    }


def _announced_more(
    alarms: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]],
    other: str,
    evidence: Evidence,
    of_episode: np.ndarray,
) -> dict[str, Any]:
    """First events that the subject announces ahead and the other does not."""
    rule = _announced_by(evidence)
    one, two = (alarms[name][rule] for name in (evidence.subject, other))
    gap = described(one["announced_ahead"] - two["announced_ahead"], "no first events")
    events = np.isfinite(first_event_step(evidence.samples))
    judge_difference(gap, len(np.unique(of_episode[events])))
    return gap


def _failure(evidence: Evidence) -> dict[str, Any]:
    """The subject's risk of any event and the clock as detectors of failure within the horizon."""
    samples = evidence.samples
    rows = np.flatnonzero(samples.ended[samples.episode])
    scores = {CLOCK: samples.step.astype(float)}
    if evidence.subject in evidence.forecasts and evidence.usable.any():
        scores[ANY] = evidence.any_risk
    cluster = samples.scene
    resampling = Resampling.draw(int(cluster.max()) + 1, 200, 0)
    ranking = Ranking(samples.fail_within[rows], cluster[rows], evidence.stratum[rows], resampling)
    reason = "failures and successes are both needed"
    return {
        name: {"auroc": described(ranking.auroc(score[rows]), reason)}
        for name, score in scores.items()
    }


def _base_rate(view: View, scene: np.ndarray, resampling: Resampling) -> dict[str, Any]:
    cluster, one = scene[view.rows], np.ones(len(view.rows))
    labels = [*view.risk.T, view.any]
    shares = [resampling.share(label.astype(float), one, cluster) for label in labels]
    return {
        name: described(share, "no queries")
        for name, share in zip((*SIGNED_MOTIONS, ANY_EVENT), shares, strict=True)
    }


def _reason(evidence: Evidence, row: int) -> str:
    if row == len(SIGNED_MOTIONS) and evidence.usable.any():
        return NO_MEAN
    if row >= len(SIGNED_MOTIONS):
        return NOTHING if not evidence.usable.any() else "one class only in every task and fold"
    positives = int(evidence.n_positive[row])
    if not evidence.usable[row]:
        return f"too few positives to learn from ({positives}): the base rate is reported instead"
    return f"one class only in every task and fold ({positives} positives)"


def _named(values: list[Any]) -> dict[str, Any]:
    return dict(zip(SIGNED_MOTIONS, values, strict=True))
