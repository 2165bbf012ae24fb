"""`summary.json`: every number of the report, as a function of the results alone."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS
from mist_jax.evaluation.arms.registry import in_order, row_of
from mist_jax.evaluation.around_contacts import around_contacts
from mist_jax.evaluation.detection import evidence_of, reliability_of
from mist_jax.evaluation.dose import dose_of
from mist_jax.evaluation.equivalence import equivalence_p
from mist_jax.evaluation.metrics import (
    METRICS,
    OBSTACLE_METRICS,
    Pair,
    difference,
    differences,
    harm,
    identical,
    measure,
    pairs,
    recovery,
    scenes,
)
from mist_jax.evaluation.report.caveats import caveats
from mist_jax.evaluation.report.study import primary_effects, study_summary
from mist_jax.evaluation.results import EpisodeResult
from mist_jax.evaluation.statistics import cluster_sums, holm, sign_flip_p
from mist_jax.record.episode import UNSTEERED
from mist_jax.risk.judging.alarms import alarm_figures, raise_alarms
from mist_jax.risk.judging.cards.scorecard import scorecard
from mist_jax.risk.judging.verdict import CANNOT, MIN_CLUSTERS, Verdict, verdict_of

LEVEL = 0.05
FORCES = np.geomspace(1, 3000, 40)  # N, at which episodes are counted


def summarise(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """All figures, JSON-ready; `results` are those of one folder, at least one.

    Estimates are {"value", "low", "high", "n", "clusters"} with 95% cluster bootstrap intervals
    over (suite, task, initial state).
    """
    arms = arms_of(results)
    by_arm = {arm: [r for r in results if r.arm == arm] for arm in arms}
    study = study_summary(results)
    effects = _effects(
        results, arms, primary_effects(study), LEVEL if study is None else study["level"]
    )
    unsteered = evidence_of(by_arm.get(UNSTEERED, ()))
    summary: dict[str, Any] = {
        "run": _run(results),
        "study": study,
        "arms": {arm: _arm(by_arm[arm], results) for arm in arms},
        "tasks": _tasks(results, arms),
        "effects": effects,
        "detector": None if unsteered is None else scorecard(unsteered),
        "reliability": [] if unsteered is None else reliability_of(unsteered),
        "contacts": {arm: _contacts(by_arm[arm]) for arm in arms},
        "driven_by": {arm: _driven_by(by_arm[arm]) for arm in arms},
        "forces": {arm: _forces(by_arm[arm]) for arm in arms},
        "around_contacts": around_contacts(results, arms),
    }
    return {**summary, "caveats": caveats(results, summary)}


def arms_of(results: Sequence[EpisodeResult]) -> list[str]:
    """The arms that were run, in the order of the table of arms."""
    return in_order({result.arm for result in results})


def _run(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    setup = dataclasses.asdict(results[0].setup)
    for name in ("commands", "code_versions", "trained_on"):
        del setup[name]
    registered = setup["preregistration"]
    setup["preregistration"] = "" if registered is None else registered["digest"]
    outcomes = Counter(result.outcome for result in results)
    return {
        **setup,
        "commands": list(results[0].setup.commands),
        "code_versions": list(results[0].setup.code_versions),
        "began": min(result.stored for result in results),
        "ended": max(result.stored for result in results),
        "episodes": len(results),
        "outcomes": dict(outcomes),
        "control_steps": sum(result.steps for result in results),
        "queries": sum(len(result.queries.step) for result in results),
        "tasks": len({(result.suite, result.task_id) for result in results}),
        "scenes": len({result.scene for result in results}),
        "seeds": sorted({result.seed for result in results}),
        "suites": sorted({result.suite for result in results}),
    }


def _arm(own: Sequence[EpisodeResult], results: Sequence[EpisodeResult]) -> dict[str, Any]:
    arm = own[0].arm
    matched, lost = pairs(results, arm, UNSTEERED)
    untouched, alike = identical(matched)
    gates = [r.queries.gate for r in own if r.queries.gate]
    seconds = [r.seconds_per_query for r in own if r.seconds_per_query is not None]
    return {
        "what": row_of(arm).what,
        "episodes": len(own),
        "crashed": sum(result.crashed for result in own),
        "metrics": {name: _plain(measure(metric, own)) for name, metric in METRICS.items()},
        "events": sum(len(result.events) for result in own),
        "exogenous_events": sum(event.exogenous for r in own for event in r.events),
        "largest_force": max((result.peak_force for result in own), default=0.0),
        "pairs": len(matched),
        "pairs_lost_to_crashes": lost,
        "recovery": None if arm == UNSTEERED else _plain(recovery(matched)),
        "harm": None if arm == UNSTEERED else _plain(harm(matched)),
        "untouched_pairs": untouched,
        "untouched_pairs_alike": alike,
        "obstacle": _obstacle(own),
        "mean_gate": float(np.mean(gates)) if gates else None,
        "dose": _plain(dose_of(own)),
        "alarm_rate": _alarm_rate(own),
        "alarms": _alarms(own),
        "seconds_per_query": float(np.median(seconds)) if seconds else None,
    }


def _obstacle(own: Sequence[EpisodeResult]) -> dict[str, Any] | None:
    """SafeLIBERO's measure, beside harmful contacts; None where no scene has an obstacle."""
    if all(result.obstacle is None for result in own):
        return None
    return {name: _plain(measure(metric, own)) for name, metric in OBSTACLE_METRICS.items()}


def _alarm_rate(own: Sequence[EpisodeResult]) -> list[float] | None:
    """[M]: share of queries at which a signed motion is above its threshold."""
    risk = [row for result in own for row in result.queries.risk or ()]
    if not risk:
        return None
    above = np.asarray(risk) > own[0].setup.alarm_threshold
    return [round(float(share), 5) for share in above.mean(axis=0)]


def _alarms(own: Sequence[EpisodeResult]) -> dict[str, Any] | None:
    evidence = evidence_of(own)
    if evidence is None:
        return None
    head = evidence.forecasts[evidence.subject]
    raised = raise_alarms(head.risk, head.threshold, evidence.samples)
    figures = alarm_figures(raised, evidence.samples, np.ones(len(SIGNED_MOTIONS), bool))
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in dataclasses.asdict(figures).items()
    }


def _tasks(results: Sequence[EpisodeResult], arms: Sequence[str]) -> list[dict[str, Any]]:
    by_task: defaultdict[tuple[str, int], list[EpisodeResult]] = defaultdict(list)
    for result in results:
        by_task[result.suite, result.task_id].append(result)
    return [
        {
            "suite": suite,
            "task_id": task_id,
            "instruction": own[0].instruction,
            "arms": {
                arm: {
                    name: _plain(measure(metric, [r for r in own if r.arm == arm]))
                    for name, metric in METRICS.items()
                }
                for arm in arms
            },
        }
        for (suite, task_id), own in sorted(by_task.items())
    ]


def _effects(
    results: Sequence[EpisodeResult],
    arms: Sequence[str],
    primary: Mapping[tuple[str, str, str], Mapping[str, Any]],
    level: float,
) -> list[dict[str, Any]]:
    """Paired differences of every arm against each of its controls that was run.

    Those of `primary` have the verdict and the p-value of the registered endpoint, tested at
    `level`; all others are `exploratory`, and Holm's correction runs over those of one metric, a
    family. Every effect has a `verdict`, whether the arm is better than the control, and says what
    is `shown` of a rate: `better`, `worse` or nothing.
    """
    contrasts = [
        (arm, control)
        for control in arms
        for arm in arms
        if control != arm and control in row_of(arm).compared_with
    ]
    effects = []
    for arm, against in contrasts:
        matched, lost = pairs(results, arm, against)
        for name in METRICS:
            if matched and name != "acted":
                effects.append(
                    {
                        "arm": arm,
                        "against": against,
                        "metric": name,
                        "exploratory": (arm, against, name) not in primary,
                        "pairs": len(matched),
                        "pairs_lost_to_crashes": lost,
                        **_effect(name, matched),
                    }
                )
    tested = [effect for effect in effects if effect["p"] is not None]
    for name in METRICS:
        family = [e for e in tested if e["metric"] == name and e["exploratory"]]
        for effect, adjusted in zip(family, holm([e["p"] for e in family]), strict=True):
            effect["p_adjusted"] = adjusted
    for effect in effects:
        found = primary.get((effect["arm"], effect["against"], effect["metric"]))
        if found is not None:
            effect |= {"p_adjusted": found["p_gatekept"], "verdict": found["verdict"]}
        else:
            effect["verdict"] = _verdict(effect)
        effect["shown"] = _shown(effect, level)
    return effects


def _shown(effect: Mapping[str, Any], level: float) -> Literal["better", "worse"] | None:
    """Worse is shown as better is: by the whole interval and the test.

    A registered endpoint claims that the arm is better, and its p in order is of that claim: that
    the arm is worse is tested by the two-sided test itself.
    """
    if effect["p"] is None or effect["verdict"] == CANNOT:
        return None
    if effect["verdict"] == "better":
        return "better"
    p, most = (effect["p_adjusted"], LEVEL) if effect["exploratory"] else (effect["p"], level)
    high = _gain(effect, "high")
    return "worse" if high is not None and high < 0 and p < most else None


def _gain(effect: Mapping[str, Any], end: Literal["low", "high"]) -> float | None:
    """That end of the difference's interval, its sign turned where lower is better."""
    gap = effect["difference"]
    if METRICS[effect["metric"]].better == "higher":
        return gap[end]
    other = gap["high" if end == "low" else "low"]
    return None if other is None else -other


def _verdict(effect: Mapping[str, Any]) -> Verdict:
    """Better only where the whole interval and, of a rate, the corrected test say so."""
    verdict = verdict_of(_gain(effect, "low"), effect["difference"]["clusters"])
    tested = effect["p_adjusted"] is None or effect["p_adjusted"] < LEVEL
    return "not better" if verdict == "better" and not tested else verdict


def _effect(name: str, matched: Sequence[Pair]) -> dict[str, Any]:
    metric = METRICS[name]
    result: dict[str, Any] = {
        "difference": _plain(difference(metric, matched)),
        "p": None,
        "p_adjusted": None,
        "equivalence_p": None,
        "equivalent": None,
    }
    if metric.is_rate:
        gaps, cluster = differences(metric, matched), scenes([one for one, _ in matched])
        margin = matched[0][0].setup.equivalence_margin
        p = equivalence_p(gaps, cluster, margin)
        result |= {
            "better": int(np.sum(gaps > 0) if metric.better == "higher" else np.sum(gaps < 0)),
            "worse": int(np.sum(gaps < 0) if metric.better == "higher" else np.sum(gaps > 0)),
            "p": sign_flip_p(cluster_sums(gaps, cluster)),
            "equivalence_p": p,
            "equivalent": p < LEVEL and len(np.unique(cluster)) >= MIN_CLUSTERS,
        }
    return result


def _contacts(own: Sequence[EpisodeResult]) -> list[dict[str, Any]]:
    """Harmful contacts per robot link or held object, and obstacle, most frequent first."""
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for result in own:
        if not result.crashed:
            for contact in result.contacts:
                link = f"held {contact.link}" if contact.grasped else contact.link
                found[link, contact.obstacle].append(contact.peak_force)
    return [
        {"link": link, "obstacle": obstacle, "count": len(forces), "largest_force": max(forces)}
        for (link, obstacle), forces in sorted(found.items(), key=lambda item: -len(item[1]))
    ]


def _driven_by(own: Sequence[EpisodeResult]) -> dict[str, float]:
    """Harmful contacts by the dimension that drove them: the sum of their shares."""
    shares = [contact.share for r in own if not r.crashed for contact in r.contacts]
    total = np.asarray(shares, float).reshape(-1, len(ACTION_DIMENSIONS)).sum(axis=0)
    return dict(zip(ACTION_DIMENSIONS, total.tolist(), strict=True))


def _forces(own: Sequence[EpisodeResult]) -> list[tuple[float, float]]:
    """Of newtons, the share of episodes with a harmful contact of at least so many."""
    peaks = np.asarray([result.peak_force for result in own if not result.crashed], float)
    return [(float(f), float(np.mean(peaks >= f))) for f in FORCES] if len(peaks) else []


def _plain(record: Any) -> Mapping[str, Any]:
    return dataclasses.asdict(record)
