"""How good the alarms were, judged on the episodes of one arm by what happened in them."""

from collections.abc import Sequence
from typing import get_args

import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.evaluation.results import EpisodeResult
from mist_jax.evaluation.statistics import wilson
from mist_jax.risk.features import EpisodeFacts, Samples
from mist_jax.risk.judging.evidence import CLOCK, Evidence, Forecast
from mist_jax.risk.judging.metrics import auroc
from mist_jax.risk.labels import EventLabels, Target, known_steps, labels_of
from mist_jax.risk.perceptron.head import HEAD

BINS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)  # of predicted risk
MIN_POSITIVES = 5  # queries before an event that a signed motion needs to be scored


def evidence_of(results: Sequence[EpisodeResult]) -> Evidence | None:
    """The risk head's word on every query of `results`, and the clock's; None without a risk head.

    The clock is the step index, in whichever direction separates a motion better: that favours it,
    as it is chosen on the very episodes it is scored on.
    """
    judged = [result for result in results if not result.crashed and result.queries.risk]
    if not judged:
        return None
    samples = _samples(judged)
    risk = np.concatenate([np.asarray(r.queries.risk, np.float64) for r in judged])
    threshold = np.broadcast_to(judged[0].setup.alarm_threshold.astype(np.float64), risk.shape)
    count = (samples.risk & samples.valid[:, None]).sum(axis=0)
    usable = count >= MIN_POSITIVES
    clock = Forecast(_clock(samples, usable), np.full(risk.shape, np.inf))
    return Evidence(
        samples=samples,
        forecasts={HEAD: Forecast(risk, threshold), CLOCK: clock},
        subject=HEAD,
        stratum=np.zeros(len(samples), int),
        usable=usable,
        n_positive=count,
    )


def reliability_of(evidence: Evidence) -> list[dict[str, float]]:
    """How often forecasts of the subject came true, in the bins of risk (from, to) that hold any.

    All motions that can alarm, at valid queries, are counted together: `predicted` is the mean risk
    of the `n` forecasts of a bin, `observed` the share of them whose event came within the horizon
    (`events`), `low` and `high` Wilson's interval, which takes forecasts as independent.
    """
    head, rows = evidence.forecasts[evidence.subject], evidence.samples.valid
    motions = np.isfinite(head.threshold).any(axis=0)
    risk, came = (
        head.risk[rows][:, motions].ravel(),
        evidence.samples.risk[rows][:, motions].ravel(),
    )
    found = []
    bins = np.clip(np.searchsorted(BINS, risk, side="right") - 1, 0, len(BINS) - 2)
    for number in np.unique(bins):
        own = bins == number
        n, events = int(own.sum()), int(came[own].sum())
        low, high = wilson(events, n)
        found.append(
            {
                "from": BINS[number],
                "to": BINS[number + 1],
                "predicted": float(risk[own].mean()),
                "observed": events / n,
                "low": low,
                "high": high,
                "n": n,
                "events": events,
            }
        )
    return found


def _clock(samples: Samples, usable: np.ndarray) -> np.ndarray:
    """[Q, M] in [0, 1]."""
    step = samples.step / max(facts.max_steps for facts in samples.episodes)
    score = np.tile(step[:, None], (1, len(SIGNED_MOTIONS)))
    rows = samples.valid
    for i in np.flatnonzero(usable):
        if auroc(step[rows], samples.risk[rows, i])[0] < 0.5:
            score[:, i] = 1.0 - score[:, i]
    return score


def _samples(results: Sequence[EpisodeResult]) -> Samples:
    """The table of labels; what a detector would read is left empty."""
    lengths = [len(result.queries.step) for result in results]
    nothing = np.zeros((sum(lengths), 0), np.float32)
    return Samples(
        model=results[0].setup.model,
        site="",
        sites={},
        labels={
            target: EventLabels.joined([_labels(result, target) for result in results])
            for target in get_args(Target)
        },
        target="first",
        fail_within=np.concatenate([_fails_within(result) for result in results]),
        step=np.concatenate([np.asarray(result.queries.step, np.int32) for result in results]),
        state=nothing,
        action=nothing,
        motion=nothing,
        since_contact=np.full(sum(lengths), np.inf, np.float32),
        episode=np.repeat(np.arange(len(results), dtype=np.int32), lengths),
        episodes=tuple(
            EpisodeFacts(
                r.key,
                r.instruction,
                r.outcome,
                not r.collided,
                r.steps,
                r.max_steps,
                _first_event(r),
            )
            for r in results
        ),
        horizon=results[0].setup.horizon,
        share=results[0].setup.share,
    )


def _first_event(result: EpisodeResult) -> float:
    return min((event.first for event in result.events), default=np.inf)


def _labels(result: EpisodeResult, target: Target) -> EventLabels:
    step = np.asarray(result.queries.step, np.int64)
    seen = known_steps(step, result.steps, result.outcome)
    return labels_of(result.events, step, seen, target, result.setup.horizon)


def _fails_within(result: EpisodeResult) -> np.ndarray:
    left = result.steps - np.asarray(result.queries.step, int)
    return (left <= result.setup.horizon) & (result.outcome == "failure")
