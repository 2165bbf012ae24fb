"""Failure detectors beside the subject's largest risk and the clock: a part of `metrics.json`.

`failure` is SAFE's figure: ROC-AUC over episodes of the largest score so far, each task's episodes
cut at the length of its shortest, for failures run to the cap and the clock would win for nothing.
So cut, the clock is the same in all episodes of a task; what is left to it are tasks that differ.
`contact` is the AUROC over queries of a harmful contact in any dimension within the horizon.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mist_jax.risk.features import Samples
from mist_jax.risk.judging.evidence import CLOCK, Evidence
from mist_jax.risk.judging.metrics import auroc, cluster_weights
from mist_jax.risk.judging.scorecard import (
    LARGEST,
    REPLICATES,
    blocked,
    described,
    judge_difference,
)
from mist_jax.risk.judging.verdict import CANNOT, Verdict, clusters_of_both


def failure_card(
    evidence: Evidence,
    scores: Mapping[str, np.ndarray],
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, Any]:
    """JSON-ready figures of `scores` (name to float [Q], nan where there is none) and the verdict.

    All detectors are judged on the queries and episodes that every one of `scores` speaks of.
    """
    samples = evidence.samples
    ended, failed = samples.ended, samples.failed
    judged = np.isfinite(list(scores.values())).all(axis=0) & ended[samples.episode]
    learnt = evidence.subject in evidence.forecasts and evidence.usable.any()
    largest = evidence.largest_risk if learnt else np.full(len(samples), np.nan)
    every = {**scores, LARGEST: largest, CLOCK: samples.step.astype(float)}
    values = {
        "failure": _failure(evidence, every, judged, replicates, seed),
        "contact": _contact(evidence, every, judged, replicates, seed),
    }
    reasons, scenes = _reasons(judged), _scenes(samples, judged)

    def figure(claim: str, *names: str) -> dict[str, Any]:
        """One detector's AUROC, or what it has more than a second one on the same resamples."""
        first, *second = (values[claim][name] for name in names)
        unlearnt = LARGEST in names and not learnt and judged.any()
        reason = "no dimension has enough positives" if unlearnt else reasons[claim]
        if not second:
            return described(first, reason)
        gap = described(first - second[0], reason)
        judge_difference(gap, scenes[claim])
        return gap

    card: dict[str, Any] = {
        "queries": int(judged.sum()),
        "episodes": len(np.unique(samples.episode[judged])),
        "failures": int(failed[np.unique(samples.episode[judged])].sum()),
        "detectors": {name: {claim: figure(claim, name) for claim in values} for name in every},
        "failure_minus_clock": {
            name: figure("failure", name, CLOCK) for name in every if name != CLOCK
        },
        "contact_head_minus": {
            name: figure("contact", LARGEST, name) for name in every if name != LARGEST
        },
    }
    return {**card, "verdict": _verdict(card, list(scores), evidence.subject)}


def _failure(
    evidence: Evidence, every: Mapping[str, np.ndarray], judged: np.ndarray, replicates, seed
) -> dict[str, np.ndarray]:
    """AUROC [1 + replicates] of each detector's largest score before its task's shortest end."""
    samples = evidence.samples
    ended, failed = samples.ended, samples.failed
    length = np.bincount(samples.episode)
    start = np.cumsum(length) - length
    tasks = [facts.task for facts in samples.episodes]
    shortest: dict[tuple[str, int], int] = {}
    for episode in np.flatnonzero(ended):
        queries = int(length[episode])
        shortest[tasks[episode]] = min(shortest.get(tasks[episode], queries), queries)
    episodes = np.unique(samples.episode[judged])
    rows = start[episodes]
    weights = _weights(samples.scene[rows], replicates, seed)
    return {
        name: _auroc(
            np.asarray([score[start[e] : start[e] + shortest[tasks[e]]].max() for e in episodes]),
            failed[episodes],
            weights,
            evidence.stratum[rows],
        )
        for name, score in every.items()
    }


def _contact(
    evidence: Evidence, every: Mapping[str, np.ndarray], judged: np.ndarray, replicates, seed
) -> dict[str, np.ndarray]:
    """AUROC [1 + replicates] of each detector over the queries that have a label."""
    samples = evidence.samples
    rows = np.flatnonzero(judged & samples.valid)
    label = np.asarray(samples.risk[rows].any(axis=1))
    weights = _weights(samples.scene[rows], replicates, seed)
    return {
        name: _auroc(score[rows], label, weights, evidence.stratum[rows])
        for name, score in every.items()
    }


def _weights(scene: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Bootstrap weights of whole scenes, the plain figure's first."""
    once = np.ones((1, len(scene)), np.float32)
    if len(scene) == 0:
        return once
    return np.concatenate([once, cluster_weights(scene, replicates, seed)])


def _auroc(
    score: np.ndarray, label: np.ndarray, weights: np.ndarray, stratum: np.ndarray
) -> np.ndarray:
    if not np.isfinite(score).all():
        return np.full(len(weights), np.nan)
    return blocked(lambda w: auroc(score, label, w, stratum), weights)


def _scenes(samples: Samples, judged: np.ndarray) -> dict[str, int]:
    """How many scenes hold the rarer outcome, and the rarer label."""
    labelled = judged & samples.valid
    failed = samples.failed[samples.episode[judged]]
    return {
        "failure": clusters_of_both(failed, samples.scene[judged]),
        "contact": clusters_of_both(
            np.asarray(samples.risk[labelled].any(axis=1)), samples.scene[labelled]
        ),
    }


def _reasons(judged: np.ndarray) -> dict[str, str]:
    """Why a figure is null, if it is."""
    if not judged.any():
        return dict.fromkeys(
            ("failure", "contact"), "no fold has failures and successes to train on"
        )
    return {
        "failure": "failures and successes are both needed in one fold",
        "contact": "queries with and without a harmful contact ahead are both needed in one fold",
    }


def _verdict(card: Mapping[str, Any], published: list[str], subject: str) -> list[str]:
    """One sentence on contacts and one on failures; nothing is claimed of what is undefined."""
    gaps = {name: card["contact_head_minus"][name] for name in published}
    better, worse, unclear = _sorted(gaps)
    beats = [f"beats {better}"] * bool(better)
    fails = [f"does NOT beat {worse}"] * bool(worse)
    neither = [f"cannot be judged against {unclear}"] * bool(unclear)
    contacts = f"the {subject}'s largest risk {' and '.join(beats + fails + neither)}"
    ahead = card["failure_minus_clock"]
    winners, losers, unclear = _sorted(ahead)
    nobody = "NO detector that can be judged" if unclear else "NO detector, published or ours"
    parts = [f"the clock is beaten by {winners or nobody}"] * bool(winners or losers)
    parts += [f"whether it is by {unclear} cannot be judged"] * bool(unclear)
    failures = "; ".join(parts)
    return [
        _said("On contacts", contacts, list(gaps.values())),
        _said("On failures, cut at each task's shortest episode,", failures, list(ahead.values())),
    ]


def _sorted(gaps: Mapping[str, Mapping[str, Any]]) -> tuple[str, str, str]:
    """Names of those that are better, not better, and not to be judged."""

    def named(verdict: Verdict) -> str:
        return ", ".join(name for name, gap in gaps.items() if gap["verdict"] == verdict)

    return named("better"), named("not better"), named(CANNOT)


def _said(where: str, what: str, gaps: list[Mapping[str, Any]]) -> str:
    """The sentence, or why there is none."""
    if all(gap["value"] is None for gap in gaps):
        return f"{where} nothing is claimed of published detectors: {gaps[0]['reason']}."
    return f"{where} {what}."
