"""All that is said about forecasts of contacts, from out-of-sample ones alone: `metrics.json`.

In keys and sentences "head" is the part of the subject: the detector that ships and is in question.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.risk.judging.alarms import alarm_figures, raise_alarms
from mist_jax.risk.judging.evidence import CLOCK, Evidence, Forecast
from mist_jax.risk.judging.metrics import (
    auroc,
    average_precision,
    base_rate,
    calibration_error,
    cluster_weights,
    interval,
)
from mist_jax.risk.judging.verdict import (
    CANNOT,
    MIN_CLUSTERS,
    Verdict,
    clusters_of_both,
    verdict_of,
)

LARGEST = "largest risk"  # of the subject, over dimensions
REPLICATES = 1000
REPLICATES_AT_ONCE = 100  # bounds memory: weights are [replicates, queries]


def scorecard(evidence: Evidence, *, replicates: int = REPLICATES, seed: int = 0) -> dict[str, Any]:
    """The metrics of every detector, per dimension and on average, JSON-ready.

    A value is {"value", "interval"} with a 95% cluster bootstrap over (suite, task, initial state),
    or {"value": null, "reason"}. Every difference has a `verdict` (`judging/verdict.py`); that of
    the card says the same in words.
    """
    samples = evidence.samples
    rows = np.flatnonzero(samples.valid)
    resampled = cluster_weights(samples.scene[rows], replicates, seed)
    weights = np.concatenate([np.ones((1, len(rows)), np.float32), resampled])
    aurocs = {
        name: _all_dimensions(auroc, p, evidence, rows, weights)
        for name, p in evidence.forecasts.items()
    }
    detectors = {
        name: _detector(p, evidence, rows, weights, aurocs[name])
        for name, p in evidence.forecasts.items()
    }
    card: dict[str, Any] = {
        "queries": len(rows),
        "queries_masked": int((~samples.valid).sum()),
        "episodes": len(samples.episodes),
        "clean_episodes": int(samples.clean.sum()),
        "scenes": len(np.unique(samples.scene)),
        "horizon_steps": samples.horizon,
        "share": samples.share,
        "n_positive": _named(evidence.n_positive.tolist()),
        "fallback_to_base_rate": [
            name for name, ok in zip(ACTION_DIMENSIONS, evidence.usable, strict=True) if not ok
        ],
        "base_rate": _named(
            [
                described(base_rate(samples.risk[rows, i], weights), "")
                for i in range(len(ACTION_DIMENSIONS))
            ]
        ),
        "detectors": detectors,
        "failure_within_horizon": _failure(evidence),
    }
    if evidence.subject in aurocs:
        card["head_minus"] = {
            name: _difference(aurocs[evidence.subject], other, evidence)
            for name, other in aurocs.items()
            if name != evidence.subject
        }
        card["verdict"] = _verdict(card["head_minus"], evidence)
    return card


def _detector(
    forecast: Forecast,
    evidence: Evidence,
    rows: np.ndarray,
    weights: np.ndarray,
    aurocs: np.ndarray,
) -> dict[str, Any]:
    precisions = _all_dimensions(average_precision, forecast, evidence, rows, weights)
    samples = evidence.samples
    raised = raise_alarms(forecast.risk, forecast.threshold, samples)
    result: dict[str, Any] = {"dimensions": {}}
    for i, name in enumerate(ACTION_DIMENSIONS):
        reason = _reason(evidence, i)
        error = blocked(
            lambda w, i=i: calibration_error(forecast.risk[rows, i], samples.risk[rows, i], w),
            weights,
        )
        one = np.arange(len(ACTION_DIMENSIONS)) == i
        result["dimensions"][name] = {
            "auroc": described(aurocs[i], reason),
            "auprc": described(precisions[i], reason),
            "ece": described(error, ""),
            "alarms": _plain(alarm_figures(raised, samples, one)),
        }
    nothing = "no dimension has enough positives"
    result["mean"] = {
        "auroc": described(_mean_over(aurocs, evidence.usable), nothing),
        "auprc": described(_mean_over(precisions, evidence.usable), nothing),
        "alarms": _plain(alarm_figures(raised, samples, evidence.usable)),
    }
    return result


def _all_dimensions(metric, forecast: Forecast, evidence: Evidence, rows, weights) -> np.ndarray:
    """`metric` of each dimension [A, R]; nan for those that report only their base rate."""
    values = np.full((len(ACTION_DIMENSIONS), len(weights)), np.nan)
    stratum = evidence.stratum[rows]
    for i in np.flatnonzero(evidence.usable):
        score, label = forecast.risk[rows, i], evidence.samples.risk[rows, i]
        values[i] = blocked(lambda w, s=score, y=label: metric(s, y, w, stratum), weights)
    return values


def blocked(metric, weights: np.ndarray) -> np.ndarray:
    """`metric` of weights [R, Q], a part of the replicates at a time."""
    blocks = range(0, len(weights), REPLICATES_AT_ONCE)
    return np.concatenate([metric(weights[start : start + REPLICATES_AT_ONCE]) for start in blocks])


def _mean_over(values: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Mean over the usable dimensions, in each replicate [R]."""
    if not usable.any():
        return np.full(values.shape[1], np.nan)
    return values[usable].mean(axis=0)


def _difference(head: np.ndarray, other: np.ndarray, evidence: Evidence) -> dict[str, Any]:
    """Paired AUROC differences: both detectors are scored on the same resampled scenes."""
    gap = head - other
    values = {
        name: described(gap[i], _reason(evidence, i)) for i, name in enumerate(ACTION_DIMENSIONS)
    }
    values["mean"] = described(
        _mean_over(gap, evidence.usable), "no dimension has enough positives"
    )
    samples, rows = evidence.samples, evidence.samples.valid
    scenes = [
        clusters_of_both(samples.risk[rows, i], samples.scene[rows])
        for i in range(len(ACTION_DIMENSIONS))
    ]
    of_mean = min((scenes[i] for i in np.flatnonzero(evidence.usable)), default=0)
    for value, clusters in zip(values.values(), [*scenes, of_mean], strict=True):
        judge_difference(value, clusters)
    return values


def judge_difference(value: dict[str, Any], clusters: int) -> None:
    """Adds the `verdict` on a described difference, and the `reason` why there is none."""
    low, _ = value.get("interval") or (None, None)
    value["verdict"] = verdict_of(low, clusters)
    if value["verdict"] == CANNOT and low is not None:
        value["reason"] = (
            f"{clusters} scenes hold the rarer of the two classes; {MIN_CLUSTERS} are needed"
        )


def _verdict(differences: Mapping[str, Mapping[str, Any]], evidence: Evidence) -> list[str]:
    """One sentence per comparison, the clock first."""
    usable, subject = evidence.usable, evidence.subject
    if not usable.any():
        return ["No dimension has enough harmful contacts: nothing was learnt, nothing is claimed."]
    lines = []
    named = [n for n, ok in zip(ACTION_DIMENSIONS, usable, strict=True) if ok]
    for other in sorted(differences, key=lambda name: (name != CLOCK, name)):
        said: dict[Verdict, list[str]] = {"better": [], "not better": [], CANNOT: []}
        for name in named:
            said[differences[other][name]["verdict"]].append(name)
        better, worse, open_ = (", ".join(names) for names in said.values())
        if better:
            lines.append(f"The {subject} beats the {other} baseline in {better}.")
        if worse:
            lines.append(f"The {subject} does NOT beat the {other} baseline in {worse}.")
        if open_:
            lines.append(
                f"Whether the {subject} beats the {other} baseline cannot be judged in {open_}: "
                f"undefined, or fewer than {MIN_CLUSTERS} scenes with a contact or without."
            )
    return lines


def _failure(evidence: Evidence) -> dict[str, Any]:
    """The subject's largest risk as a detector of failure within the horizon, beside the clock."""
    samples = evidence.samples
    rows = np.flatnonzero(samples.ended[samples.episode])
    label, stratum = samples.fail_within[rows], evidence.stratum[rows]
    scores = {CLOCK: samples.step.astype(float)}
    if evidence.subject in evidence.forecasts:
        scores[LARGEST] = evidence.largest_risk
    weights = cluster_weights(samples.scene[rows], 200, 0)
    weights = np.concatenate([np.ones((1, len(rows)), np.float32), weights])
    reason = "failures and successes are both needed"
    return {
        name: {"auroc": described(auroc(score[rows], label, weights, stratum), reason)}
        for name, score in scores.items()
    }


def described(values: np.ndarray, reason: str) -> dict[str, Any]:
    """The plain value and its interval from values [1 + replicates]."""
    if not np.isfinite(values[0]):
        return {"value": None, "reason": reason}
    bounds = interval(values[1:])
    result: dict[str, Any] = {"value": round(float(values[0]), 6)}
    if bounds is None:
        return {**result, "interval": None, "reason": "undefined in too many resamples"}
    return {**result, "interval": [round(bound, 6) for bound in bounds]}


def _reason(evidence: Evidence, dimension: int) -> str:
    positives = int(evidence.n_positive[dimension])
    if not evidence.usable[dimension]:
        return f"too few positives to learn from ({positives}): the base rate is reported instead"
    return f"one class only in every fold ({positives} positives)"


def _plain(record: Any) -> dict[str, Any]:
    """A dataclass of numbers with nan as null."""
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in dataclasses.asdict(record).items()
    }


def _named(values: list[Any]) -> dict[str, Any]:
    return dict(zip(ACTION_DIMENSIONS, values, strict=True))
