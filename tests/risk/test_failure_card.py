"""What is said of detectors of failures, and on how many scenes it rests."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mist_jax.risk.judging.cards.failures import failure_card
from mist_jax.risk.judging.evidence import ANY, Evidence, Forecast
from mist_jax.risk.perceptron.head import HEAD
from tests.helpers.failing_samples import samples_of


def evidence_of(scores: dict[str, np.ndarray], knows: float = 0.0) -> Evidence:
    """With a head that knows of events, or (-1) of the opposite, or nothing."""
    samples = samples_of(0.0, 0.0)
    risk = np.full((len(samples), 14), 0.3) + 0.1 * np.random.default_rng(5).random((1, 14))
    noise = 0.1 * np.random.default_rng(6).random(len(samples))
    risk = risk * 0.3 + noise[:, None] + 0.2 * knows * samples.label.any_risk[:, None]
    risk = np.clip(risk, 0.0, 0.9)
    forecasts = {HEAD: Forecast(risk, np.ones_like(risk))}
    forecasts |= {n: Forecast(risk, np.ones_like(risk), score=s) for n, s in scores.items()}
    usable = np.ones(14, bool)
    fold = np.zeros(len(samples), int)
    return Evidence(samples, forecasts, HEAD, fold, usable, np.full(14, 99))


def test_failure_figure_is_the_running_maximum_cut_at_the_shortest_of_its_task():
    samples = samples_of(0.0, 0.0)
    score = np.random.default_rng(0).normal(size=len(samples))
    score += samples.failed[samples.episode]
    card = failure_card(evidence_of({"LSTM": score}), replicates=2)
    json.dumps(card, allow_nan=False)
    length, ended = np.bincount(samples.episode), samples.ended
    task = np.asarray([facts.key.task_id for facts in samples.episodes])
    best = [
        score[samples.episode == e][: length[ended & (task == task[e])].min()].max()
        for e in np.flatnonzero(ended)
    ]
    expected = roc_auc_score(samples.failed[ended], best)
    assert card["detectors"]["LSTM"]["failure"]["value"] == pytest.approx(expected, abs=1e-6)
    rows = ended[samples.episode] & samples.valid
    expected = roc_auc_score(samples.label.any_risk[rows], score[rows])
    assert card["detectors"]["LSTM"]["contact"]["value"] == pytest.approx(expected, abs=1e-6)
    assert card["detectors"]["clock"]["failure"]["value"] < 0.75  # cut, it knows tasks at most


def test_the_verdict_says_whom_the_head_beats():
    samples = samples_of(0.0, 0.0)
    score = np.random.default_rng(0).normal(size=len(samples))
    for knows, said in ((1.0, "beats"), (-1.0, "does NOT beat")):
        card = failure_card(evidence_of({"LSTM": score}, knows), replicates=50)
        assert card["verdict"][0] == f"On contacts the head's risk of any event {said} LSTM."
        assert card["detectors"][ANY]["contact"]["value"] is not None


def test_scenes_of_a_fold_with_one_outcome_alone_judge_nothing():
    """Every scene of the first fold fails; of the second five do."""
    evidence = evidence_of({"LSTM": np.random.default_rng(0).normal(size=len(samples_of(0, 0)))})
    samples = evidence.samples
    fold = (np.arange(len(samples.episodes)) >= 30).astype(int)
    fails = (fold == 0) | np.isin(np.arange(len(fold)), range(40, 45))
    episodes = tuple(
        replace(facts, outcome="failure" if failed else "success")
        for facts, failed in zip(samples.episodes, fails, strict=True)
    )
    evidence = replace(
        evidence, samples=replace(samples, episodes=episodes), stratum=fold[samples.episode]
    )
    gap = failure_card(evidence, replicates=50)["failure_minus_clock"]["LSTM"]
    assert gap["verdict"] == "cannot be judged"
    assert gap["reason"].startswith("5 scenes hold the rarer of the two classes")
