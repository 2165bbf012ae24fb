"""How good the alarms were, judged on the episodes of one arm by what happened in them."""

from collections.abc import Sequence

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.evaluation.results import EpisodeResult
from mist_jax.risk.features import EpisodeFacts, Samples
from mist_jax.risk.judging.evidence import CLOCK, Evidence, Forecast
from mist_jax.risk.judging.metrics import auroc
from mist_jax.risk.perceptron.head import HEAD

MIN_POSITIVES = 5  # queries before a contact that a dimension needs to be scored


def evidence_of(results: Sequence[EpisodeResult]) -> Evidence | None:
    """The risk head's word on every query of `results`, and the clock's; None without a risk head.

    The clock is the step index, in whichever direction separates a dimension better: that favours
    it, as it is chosen on the very episodes it is scored on.
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


def _clock(samples: Samples, usable: np.ndarray) -> np.ndarray:
    """[Q, A] in [0, 1]."""
    step = samples.step / max(facts.max_steps for facts in samples.episodes)
    score = np.tile(step[:, None], (1, len(ACTION_DIMENSIONS)))
    rows = samples.valid
    for i in np.flatnonzero(usable):
        if auroc(step[rows], samples.risk[rows, i])[0] < 0.5:
            score[:, i] = 1.0 - score[:, i]
    return score


def _samples(results: Sequence[EpisodeResult]) -> Samples:
    """The table of labels; what a detector would read is left empty."""
    dims = len(ACTION_DIMENSIONS)
    lengths = [len(result.queries.step) for result in results]
    count = sum(lengths)
    ahead = np.full((count, dims), np.inf, np.float32)
    valid = np.ones(count, bool)
    first = 0
    for result, length in zip(results, lengths, strict=True):
        for query, dim, steps in result.queries.due:
            ahead[first + query, dim] = steps
        valid[first + np.asarray(result.queries.inside, int)] = False
        first += length
    return Samples(
        site="",
        layers=(),
        model=results[0].setup.model,
        activation=np.zeros((count, 0, 0), np.float32),
        risk=np.isfinite(ahead),
        valid=valid,
        sign=np.zeros((count, dims), np.int8),
        steps_to_onset=ahead,
        fail_within=np.concatenate([_fails_within(result) for result in results]),
        step=np.concatenate([np.asarray(result.queries.step, np.int32) for result in results]),
        state=np.zeros((count, 0), np.float32),
        action=np.zeros((count, 0), np.float32),
        episode=np.repeat(np.arange(len(results), dtype=np.int32), lengths),
        episodes=tuple(
            EpisodeFacts(r.key, r.outcome, not r.collided, r.steps, r.max_steps) for r in results
        ),
        horizon=results[0].setup.horizon,
        share=results[0].setup.share,
    )


def _fails_within(result: EpisodeResult) -> np.ndarray:
    left = result.steps - np.asarray(result.queries.step, int)
    return (left <= result.setup.horizon) & (result.outcome == "failure")
