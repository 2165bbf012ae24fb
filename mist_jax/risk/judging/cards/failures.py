"""Failure detectors beside the subject's risk of any event and the clock: a part of `metrics.json`.

`failure` is SAFE's figure: ROC-AUC over episodes of the largest score so far, each task's episodes
cut at the length of its shortest, for failures run to the cap and the clock would win for nothing.
So cut, the clock is the same in all episodes of a task; what is left to it are tasks that differ.
`contact` is the AUROC over queries of any event within the horizon.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mist_jax.risk.judging.cards.scorecard import NOTHING, REPLICATES
from mist_jax.risk.judging.described import described, judge_difference
from mist_jax.risk.judging.evidence import ANY, CLOCK, Evidence
from mist_jax.risk.judging.ranking import Ranking
from mist_jax.risk.judging.resampling import Resampling
from mist_jax.risk.judging.verdict import by_verdict, clusters_compared


def failure_card(
    evidence: Evidence,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, Any]:
    """JSON-ready figures of the detectors that give a score of failure, and the verdict.

    All are judged on the episodes that ended, that is did not crash.
    """
    samples = evidence.samples
    scores = {n: f.score for n, f in evidence.forecasts.items() if f.score is not None}
    failed = samples.failed
    judged = samples.ended[samples.episode]
    learnt = evidence.subject in evidence.forecasts and evidence.usable.any()
    either = evidence.any_risk if learnt else np.full(len(samples), np.nan)
    every = {**scores, ANY: either, CLOCK: samples.step.astype(float)}
    values = {
        "failure": _failure(evidence, every, judged, replicates, seed),
        "contact": _contact(evidence, every, judged, replicates, seed),
    }
    reasons, scenes = _reasons(judged), _scenes(evidence, judged)

    def figure(claim: str, *names: str) -> dict[str, Any]:
        """One detector's AUROC, or what it has more than a second one on the same resamples."""
        first, *second = (values[claim][name] for name in names)
        unlearnt = ANY in names and not learnt and judged.any()
        reason = NOTHING if unlearnt else reasons[claim]
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
        "contact_head_minus": {name: figure("contact", ANY, name) for name in every if name != ANY},
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
    ranking = _ranking(evidence, rows, failed[episodes], replicates, seed)

    def largest(score: np.ndarray) -> np.ndarray:
        cut = [score[start[e] : start[e] + shortest[tasks[e]]] for e in episodes]
        return np.asarray([part.max() for part in cut])

    return {name: _auroc(ranking, largest(score)) for name, score in every.items()}


def _contact(
    evidence: Evidence, every: Mapping[str, np.ndarray], judged: np.ndarray, replicates, seed
) -> dict[str, np.ndarray]:
    """AUROC [1 + replicates] of each detector over the queries that have a label."""
    samples = evidence.samples
    rows = np.flatnonzero(judged & samples.valid)
    ranking = _ranking(evidence, rows, samples.label.any_risk[rows], replicates, seed)
    return {name: _auroc(ranking, score[rows]) for name, score in every.items()}


def _ranking(
    evidence: Evidence, rows: np.ndarray, label: np.ndarray, replicates: int, seed: int
) -> Ranking:
    scene = evidence.samples.scene
    resampling = Resampling.draw(int(scene.max()) + 1, replicates, seed)
    return Ranking(label, scene[rows], evidence.stratum[rows], resampling)


def _auroc(ranking: Ranking, score: np.ndarray) -> np.ndarray:
    if not np.isfinite(score).all():
        return np.full(len(ranking.resampling.weight), np.nan)
    return ranking.auroc(score)


def _scenes(evidence: Evidence, judged: np.ndarray) -> dict[str, int]:
    """How many scenes hold the rarer outcome, and the rarer label, where both are in one fold."""
    samples = evidence.samples

    def compared(rows: np.ndarray, label: np.ndarray) -> int:
        return clusters_compared(label[rows], samples.scene[rows], evidence.stratum[rows])

    return {
        "failure": compared(judged, samples.failed[samples.episode]),
        "contact": compared(judged & samples.valid, samples.label.any_risk),
    }


def _reasons(judged: np.ndarray) -> dict[str, str]:
    """Why a figure is null, if it is."""
    if not judged.any():
        return dict.fromkeys(("failure", "contact"), "no episode ended, by success or failure")
    return {
        "failure": "failures and successes are both needed in one fold",
        "contact": "queries with and without an event ahead are both needed in one fold",
    }


def _verdict(card: Mapping[str, Any], published: list[str], subject: str) -> list[str]:
    """One sentence on contacts and one on failures; nothing is claimed of what is undefined."""
    gaps = {name: card["contact_head_minus"][name] for name in published}
    better, worse, unclear = _sorted(gaps)
    beats = [f"beats {better}"] * bool(better)
    fails = [f"does NOT beat {worse}"] * bool(worse)
    neither = [f"cannot be judged against {unclear}"] * bool(unclear)
    contacts = f"the {subject}'s risk of any event {' and '.join(beats + fails + neither)}"
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
    """Names of those that are better, not better, and not to be judged, as they are written."""
    better, worse, unclear = (", ".join(names) for names in by_verdict(gaps))
    return better, worse, unclear


def _said(where: str, what: str, gaps: list[Mapping[str, Any]]) -> str:
    """The sentence, or why there is none."""
    if all(gap["value"] is None for gap in gaps):
        return f"{where} nothing is claimed of published detectors: {gaps[0]['reason']}."
    return f"{where} {what}."
