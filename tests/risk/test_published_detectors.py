"""Published failure detectors: known answers, no leakage, and oracles of other libraries."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from mist_jax.risk.features import Samples, gather_samples
from mist_jax.risk.judging.evidence import Evidence, Forecast
from mist_jax.risk.judging.failures import failure_card
from mist_jax.risk.judging.scorecard import LARGEST
from mist_jax.risk.perceptron.head import HEAD
from mist_jax.risk.plan import Plan, TrainConfig
from mist_jax.risk.published.distances import cosine_neighbours, mahalanobis
from mist_jax.risk.published.networks import HIDDEN, lstm_initial, lstm_logits
from mist_jax.risk.splits import Folds, make_folds
from mist_jax.risk.study.crossfit import failure_scores, fit_all
from mist_jax.risk.study.figures import published
from mist_jax.risk.study.registry import failure_rows
from tests.helpers.synthetic_episodes import SITE, contact, episode

WIDTH, SHORTEST = 12, 10
MLP, STEPWISE, LSTM = "SAFE-MLP", "SAFE-MLP per query", "SAFE-LSTM"
NAMES = (MLP, STEPWISE, LSTM, "Mahalanobis", "cosine kNN")


def samples_of(strength: float, *, outcome: str = "", count: int = 45, seed: int = 0) -> Samples:
    """Two episodes in five fail and run to the cap of 22 queries; every fifth from the second on
    crashes. In a failure the last layer's first feature lies `strength` higher. Every task's
    shortest episode is of SHORTEST queries.
    """
    rng = np.random.default_rng(seed)
    made = []
    for scene in range(count):
        of = outcome or ("failure", "crashed", "success", "failure", "success")[scene % 5]
        failed = of == "failure"
        queries = 22 if failed else SHORTEST + scene // 15
        activation = rng.normal(size=(queries, 2, WIDTH)).astype(np.float32)
        activation[:, 1, 0] += strength * failed
        contacts = [contact(30, {0: 1.0})] if scene % 3 == 0 else []
        made.append(
            episode(
                contacts,
                length=8 * queries,
                task=(scene // 5) % 3,
                state=scene,
                outcome=of,
                activation=activation,
                layers=(1, 3),
            )
        )
    return gather_samples(made, SITE)


def folds_of(samples: Samples) -> Folds:
    return make_folds(samples, "episode", 5, 0)


def published_scores(samples: Samples, folds: Folds) -> dict[str, np.ndarray]:
    """Of every detector of failure that is registered."""
    plan, rows = Plan(folds, np.ones(7, bool), 0.15, TrainConfig()), failure_rows()
    return failure_scores(rows, fit_all(rows, samples, plan), samples, plan)


def evidence_of(samples: Samples, folds: Folds, knows: float = 0.0) -> Evidence:
    """With a head that knows of contacts, or (-1) of the opposite, or nothing."""
    risk = 0.1 * np.random.default_rng(5).random(samples.risk.shape)
    risk += knows * samples.risk.any(axis=1, keepdims=True)
    head = Forecast(risk, np.ones_like(risk))
    count = (samples.risk & samples.valid[:, None]).sum(axis=0)
    return Evidence(samples, {HEAD: head}, HEAD, folds.fold[samples.episode], count > 0, count)


@pytest.fixture(scope="module")
def planted():
    samples = samples_of(2.0)
    folds = folds_of(samples)
    scores = published_scores(samples, folds)
    return samples, folds, scores


def test_a_planted_direction_is_found_by_all_and_the_cut_clock_knows_nothing(planted, tmp_path):
    samples, folds, scores = planted
    card = failure_card(evidence_of(samples, folds), scores, replicates=200)
    json.dumps(card, allow_nan=False)
    assert set(card["detectors"]) == {*NAMES, LARGEST, "clock"}
    for name in NAMES:
        assert card["detectors"][name]["failure"]["value"] > 0.9, name
        assert card["failure_minus_clock"][name]["verdict"] == "better"
    clock = card["detectors"]["clock"]["failure"]
    assert (clock["value"], clock["interval"]) == (0.5, [0.5, 0.5])
    assert card["failure_minus_clock"][LARGEST]["verdict"] == "not better"
    assert (card["episodes"], card["failures"]) == (36, 18)
    on_failures = card["verdict"][1]
    assert on_failures.endswith(f"the clock is beaten by {', '.join(NAMES)}.")
    published(card).savefig(tmp_path / "published.png")


def test_the_verdict_says_whom_the_head_beats(planted):
    samples, folds, scores = planted
    for knows, said in ((1.0, "beats"), (-1.0, "does NOT beat")):
        evidence = evidence_of(samples, folds, knows)
        verdict = failure_card(evidence, scores, replicates=50)["verdict"]
        assert verdict[0] == f"On contacts the head's largest risk {said} {', '.join(NAMES)}."


def test_few_scenes_say_neither_that_a_detector_beats_the_clock_nor_that_it_does_not(planted):
    samples, folds, scores = planted
    few = np.isin(samples.episode, np.flatnonzero(samples.ended)[:10])  # five failures
    seen = {name: np.where(few, score, np.nan) for name, score in scores.items()}
    card = failure_card(evidence_of(samples, folds), seen, replicates=50)
    for name in NAMES:
        assert card["failure_minus_clock"][name]["verdict"] == "cannot be judged"
    contacts, failures = card["verdict"]
    assert "cannot be judged" in contacts
    assert "cannot be judged" in failures
    assert not any("NOT" in line or "NO " in line for line in card["verdict"])


def test_without_a_signal_failures_are_a_coin_toss():
    samples = samples_of(0.0, seed=1)
    folds = folds_of(samples)
    scores = published_scores(samples, folds)
    card = failure_card(evidence_of(samples, folds), scores, replicates=200)
    for name in NAMES:
        low, high = card["detectors"][name]["failure"]["interval"]
        assert low < 0.5 < high, name
        assert card["failure_minus_clock"][name]["verdict"] == "not better"


def test_a_score_is_by_models_that_saw_nothing_of_its_fold_or_of_crashes(planted):
    """Turned outcomes and new features in the test fold, and wild ones in crashes, change no other
    score of the fold.
    """
    samples, folds, scores = planted
    ended, failed = samples.ended, samples.failed
    mine = np.flatnonzero((folds.fold == 2) & ended)
    facts = list(samples.episodes)
    for e in mine:
        facts[e] = replace(facts[e], outcome="success" if failed[e] else "failure")
    activation = samples.activation.copy()
    changed = samples.episode == mine[0]
    activation[changed] += 3.0
    activation[~ended[samples.episode]] = 1e6
    after = published_scores(replace(samples, episodes=tuple(facts), activation=activation), folds)
    same = np.isin(samples.episode, mine[1:])
    for name, score in after.items():
        np.testing.assert_array_equal(np.isfinite(score), ended[samples.episode])
        np.testing.assert_array_equal(score[same], scores[name][same])
        assert (score[changed] != scores[name][changed]).any()


def test_the_summed_score_never_falls_and_is_the_sum(planted):
    samples, _, scores = planted
    for e in np.flatnonzero(samples.ended):
        mine = samples.episode == e
        assert (np.diff(scores[MLP][mine]) >= 0).all()
        np.testing.assert_allclose(np.cumsum(scores[STEPWISE][mine]), scores[MLP][mine])


def test_failure_figure_is_the_running_maximum_cut_at_the_shortest_of_its_task(planted):
    samples, folds, scores = planted
    ended, failed = samples.ended, samples.failed
    one = replace(folds, fold=np.zeros_like(folds.fold))  # a single stratum, for the oracle
    card = failure_card(evidence_of(samples, one), scores, replicates=2)
    length = np.bincount(samples.episode)
    task = np.asarray([facts.key.task_id for facts in samples.episodes])
    best = [
        scores[LSTM][samples.episode == e][: length[ended & (task == task[e])].min()].max()
        for e in np.flatnonzero(ended)
    ]
    expected = roc_auc_score(failed[ended], best)
    assert card["detectors"][LSTM]["failure"]["value"] == pytest.approx(expected, abs=1e-6)
    rows = ended[samples.episode] & samples.valid
    expected = roc_auc_score(samples.risk[rows].any(axis=1), scores[LSTM][rows])
    assert card["detectors"][LSTM]["contact"]["value"] == pytest.approx(expected, abs=1e-6)


def test_only_successes_give_nulls_with_reasons(tmp_path):
    samples = samples_of(0.0, outcome="success", count=20)
    folds = folds_of(samples)
    card = failure_card(evidence_of(samples, folds), published_scores(samples, folds))
    for found in card["detectors"].values():
        for claim in ("failure", "contact"):
            assert found[claim]["value"] is None
            assert "failures and successes" in found[claim]["reason"]
    assert all("nothing is claimed" in line for line in card["verdict"])
    json.dumps(card, allow_nan=False)
    published(card).savefig(tmp_path / "published.png")


def test_without_contacts_failures_are_still_judged(planted):
    samples, folds, scores = planted
    quiet = replace(samples, risk=np.zeros_like(samples.risk))
    card = failure_card(evidence_of(quiet, folds), scores, replicates=20)
    assert card["detectors"][MLP]["failure"]["value"] > 0.9
    assert "harmful contact" in card["detectors"][MLP]["contact"]["reason"]
    assert "enough positives" in card["detectors"][LARGEST]["failure"]["reason"]
    assert "nothing is claimed" in card["verdict"][0]


def test_mahalanobis_is_that_of_ledoit_and_wolf():
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(15, 20))
    for count in (200, 8):  # more rows than features, and fewer
        known = rng.normal(size=(count, 20)) @ rng.normal(size=(20, 20)) + 1.0
        oracle = np.sqrt(LedoitWolf().fit(known).mahalanobis(queries))
        np.testing.assert_allclose(mahalanobis(known, queries), oracle, rtol=1e-9)
    assert np.isfinite(mahalanobis(np.ones((1, 20)), queries)).all()


def test_cosine_neighbours_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    known, queries = rng.normal(size=(50, 7)), rng.normal(size=(9, 7))
    for count in (50, 4):
        search = NearestNeighbors(n_neighbors=min(10, count), metric="cosine").fit(known[:count])
        expected = search.kneighbors(queries)[0].mean(axis=1)
        np.testing.assert_allclose(cosine_neighbours(known[:count], queries), expected, atol=1e-12)


def test_lstm_is_that_of_torch():
    weights = jax.device_get(lstm_initial(jax.random.key(1), WIDTH))
    x = np.random.default_rng(0).normal(size=(3, 9, WIDTH)).astype(np.float32)
    oracle = torch.nn.LSTM(WIDTH, HIDDEN, batch_first=True)
    with torch.no_grad():
        for name, value in (
            ("weight_ih_l0", weights["input_kernel"].T),
            ("weight_hh_l0", weights["state_kernel"].T),
            ("bias_ih_l0", weights["gate_bias"]),
            ("bias_hh_l0", np.zeros_like(weights["gate_bias"])),
        ):
            getattr(oracle, name).copy_(torch.tensor(np.array(value)))
        hidden = oracle(torch.tensor(x))[0].numpy()
    expected = hidden @ weights["output_kernel"] + weights["output_bias"]
    np.testing.assert_allclose(lstm_logits(weights, jnp.asarray(x)), expected, atol=1e-5)
