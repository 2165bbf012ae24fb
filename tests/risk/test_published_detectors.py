"""Published detectors: known answers, no leakage, and oracles of other libraries."""

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.special import logit as log_odds
from sklearn.cluster import KMeans
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from mist_jax.errors import UserError
from mist_jax.risk.calibration.platt import Platt
from mist_jax.risk.features import Samples, gather_samples
from mist_jax.risk.plan import Plan, TrainConfig
from mist_jax.risk.published import distances
from mist_jax.risk.published.contrast import ON_CONTACTS
from mist_jax.risk.published.descent import applied, descend, flattened, perceptron, unflattened
from mist_jax.risk.published.distances import mahalanobis, nearest, nearest_cosine
from mist_jax.risk.published.distillation import error
from mist_jax.risk.published.flow import height, matching_loss
from mist_jax.risk.published.mahalanobis import MAHALANOBIS
from mist_jax.risk.published.neighbours import MOST
from mist_jax.risk.published.networks import (
    HIDDEN,
    L2,
    LSTM,
    MLP,
    Sequences,
    entropy_loss,
    fit_network,
    lstm_initial,
    lstm_logits,
    summed_loss,
)
from mist_jax.risk.published.pca_kmeans import centres, main_components
from mist_jax.risk.published.probed import INPUT_VARIANCE, PROBED, STAC
from mist_jax.risk.published.safe import SAFE_DETECTORS, SAFE_TWINS
from mist_jax.risk.published.sides import Sides
from mist_jax.risk.splits import make_folds
from mist_jax.risk.study.registry import CONTRASTS
from tests.helpers.failing_samples import LAST, WIDTH, samples_of
from tests.helpers.synthetic_episodes import SITE, episode

FAILURE_DETECTORS = (*SAFE_DETECTORS, *CONTRASTS)
TWINS = (*SAFE_TWINS, *(one.twin for one in CONTRASTS))
LEARNT = (*FAILURE_DETECTORS, *TWINS)


def plan_of(samples: Samples) -> Plan:
    folds = make_folds(samples, "episode", 3, 0)
    return Plan(folds, np.ones(14, bool), 0.15, TrainConfig(), safe_epochs=40)


def fitted(detector, samples, plan) -> Any:
    return detector.fit(samples, plan, lambda epochs: None).members


def outside(detector, samples, plan) -> np.ndarray:
    """Float [Q]: scores by members that saw nothing of a query's fold; nan outside the folds."""
    score = np.full(len(samples), np.nan)
    for k, member in enumerate(fitted(detector, samples, plan)):
        if member is not None:
            rows = plan.folds.test(k, samples)
            said = detector.score(member, samples)
            score[rows] = (said if said.ndim == 1 else said[:, 0])[rows]
    return score


@cache
def planted() -> tuple[Samples, Plan]:
    samples = samples_of(5.0, 5.0)
    return samples, plan_of(samples)


@cache
def planted_score(name: str) -> np.ndarray:
    samples, plan = planted()
    return outside(next(one for one in LEARNT if one.name == name), samples, plan)


def both_figures(score: np.ndarray, samples: Samples) -> tuple[float, float]:
    """AUROC of the outcome over queries, and of an event ahead."""
    ended = samples.ended[samples.episode] & np.isfinite(score)
    rows = samples.valid & np.isfinite(score)
    failed = samples.failed[samples.episode]
    return (
        float(roc_auc_score(failed[ended], score[ended])),
        float(roc_auc_score(samples.label.any_risk[rows], score[rows])),
    )


@pytest.mark.parametrize("detector", LEARNT, ids=lambda one: one.name)
def test_each_finds_what_it_was_trained_on_and_not_the_other(detector):
    samples, _ = planted()
    failure, event = both_figures(planted_score(detector.name), samples)
    mine, other = (failure, event) if detector.claims == "failure" else (event, failure)
    assert mine > 0.8
    assert other < mine - 0.1


@pytest.mark.parametrize("detector", LEARNT, ids=lambda one: one.name)
def test_without_a_signal_it_is_a_coin_toss(detector):
    samples = samples_of(0.0, 0.0, seed=1)
    score = outside(detector, samples, plan_of(samples))
    if getattr(detector, "summed", False):
        return  # a running sum is a clock
    failure, event = both_figures(score, samples)
    assert abs((failure if detector.claims == "failure" else event) - 0.5) < 0.14


@pytest.mark.parametrize("detector", LEARNT, ids=lambda one: one.name)
def test_a_member_saw_nothing_of_its_test_fold_nor_of_what_calibrates(detector):
    """Other outcomes, events and features there leave its arrays bit for bit as they were; so do
    wild features in crashed episodes, for what learns from outcomes.
    """
    samples, plan = planted()
    hidden = plan.folds.test(1, samples) | ~plan.folds.tested(samples)
    before = fitted(detector, samples, plan)[1]
    changed = hidden | (~samples.ended[samples.episode] & (detector.claims == "failure"))
    site = samples.sites[SITE]
    values = np.where(changed[:, None, None], 1e3 - site.values, site.values)
    turned = np.unique(samples.episode[hidden])
    facts = [
        replace(f, outcome="failure" if f.outcome == "success" else "success")
        if e in turned and f.outcome != "crashed"
        else f
        for e, f in enumerate(samples.episodes)
    ]
    label = samples.label
    ahead = np.where(hidden, np.where(np.isfinite(label.ahead), np.inf, 3.0), label.ahead)
    other = replace(
        samples,
        sites={SITE: replace(site, values=values)},
        labels={**samples.labels, "first": replace(label, ahead=ahead)},
        episodes=tuple(facts),
        action=samples.action + np.float32(5.0) * changed[:, None],
    )
    after = fitted(detector, other, plan)[1]
    assert set(before) == set(after)
    for name, leaf in before.items():
        np.testing.assert_array_equal(leaf, after[name], err_msg=name)


def test_twins_say_the_same_of_every_motion_and_are_there_for_all_that_learn():
    samples, plan = planted()
    for twin in TWINS:
        assert twin.name.endswith(ON_CONTACTS)
        assert twin.claims == "contact"
    score = TWINS[2].score(fitted(TWINS[2], samples, plan)[0], samples)
    assert score.shape == (len(samples), 14)
    assert (score == score[:, :1]).all()
    learnt = {one.name + ON_CONTACTS for one in FAILURE_DETECTORS}
    assert learnt - {one.name for one in TWINS} == {"SAFE-MLP per query" + ON_CONTACTS}


def test_one_outcome_alone_gives_no_member_and_no_event_gives_a_score_that_says_nothing():
    samples = samples_of(0.0, 0.0, outcome="success", count=20)
    quiet = replace(samples.label, ahead=np.full(len(samples), np.inf, np.float32))
    samples = replace(samples, labels={**samples.labels, "first": quiet})
    plan = plan_of(samples)
    for detector in LEARNT:
        members = fitted(detector, samples, plan)
        if detector.claims == "failure":
            assert members == [None] * 3
            continue
        score = detector.score(members[0], samples)
        assert np.isfinite(score).all()
        if "SAFE" not in detector.name:
            np.testing.assert_array_equal(score, 0.0)


def test_the_summed_score_never_falls_and_is_the_sum():
    samples, _ = planted()
    summed, each = planted_score("SAFE-MLP"), planted_score("SAFE-MLP per query")
    for e in np.unique(samples.episode[np.isfinite(summed)]):
        mine = samples.episode == e
        assert (np.diff(summed[mine]) >= 0).all()
        np.testing.assert_allclose(np.cumsum(each[mine]), summed[mine])


def test_mahalanobis_is_that_of_ledoit_and_wolf():
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(15, 20))
    for count in (200, 8):  # more rows than features, and fewer
        known = rng.normal(size=(count, 20)) @ rng.normal(size=(20, 20)) + 1.0
        oracle = np.sqrt(LedoitWolf().fit(known).mahalanobis(queries))
        np.testing.assert_allclose(mahalanobis(known, queries), oracle, rtol=1e-9)
    assert np.isfinite(mahalanobis(np.ones((1, 20)), queries)).all()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_neighbours_are_those_of_scikit_learn(metric, monkeypatch):
    monkeypatch.setattr(distances, "CHUNK", 4)  # nine queries in three parts
    mean_distance = nearest if metric == "euclidean" else nearest_cosine
    rng = np.random.default_rng(0)
    known, queries = rng.normal(size=(50, 7)), rng.normal(size=(9, 7))
    for count in (50, 4):
        search = NearestNeighbors(n_neighbors=min(10, count), metric=metric).fit(known[:count])
        expected = search.kneighbors(queries)[0].mean(axis=1)
        np.testing.assert_allclose(mean_distance(known[:count], queries, 10), expected, atol=1e-7)


def test_a_side_keeps_as_many_rows_as_it_may_and_always_the_same():
    features = np.random.default_rng(0).normal(size=(3 * MOST, 3)).astype(np.float32)
    sides = Sides(features, np.arange(2 * MOST), np.arange(2 * MOST, 3 * MOST))
    some = sides.rows(False, MOST)
    assert some.shape == (MOST, 3)
    np.testing.assert_array_equal(some, sides.rows(False, MOST))
    both = np.concatenate([sides.rows(False), sides.rows(True)])
    np.testing.assert_allclose(both.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(both.std(axis=0), 1, atol=1e-4)


def test_components_are_those_of_scikit_learn_and_clusters_as_tight():
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(400, 10)) @ rng.normal(size=(10, 10))).astype(np.float32)
    pca: Any = PCA(4, svd_solver="full").fit(rows)
    mine, theirs = main_components(rows, 4), pca.components_.T
    np.testing.assert_allclose(np.abs((mine * theirs).sum(axis=0)), 1.0, atol=1e-4)
    found = centres(rows, 16)
    inertia = (nearest(found, rows, 1) ** 2).sum()
    oracle: Any = KMeans(16, random_state=0).fit(rows)
    assert inertia < 1.1 * oracle.inertia_
    few = centres(rows[:3], 16)
    np.testing.assert_allclose(nearest(few, rows[:3], 1), 0.0, atol=1e-2)


def torch_perceptron(layers) -> torch.nn.Sequential:
    modules: list[torch.nn.Module] = []
    for layer in layers:
        linear = torch.nn.Linear(*layer["kernel"].shape)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(np.array(layer["kernel"]).T))
            linear.bias.copy_(torch.tensor(np.array(layer["bias"])))
        modules += [linear, torch.nn.SiLU()]
    return torch.nn.Sequential(*modules[:-1])


def test_distillation_and_flow_are_their_formulas_in_torch():
    x = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    target, copy = (perceptron(jax.random.key(seed), (5, 8, 8, 3)) for seed in (0, 1))
    with torch.no_grad():
        apart = torch_perceptron(copy)(torch.tensor(x)) - torch_perceptron(target)(torch.tensor(x))
        np.testing.assert_allclose(
            error(copy, target, jnp.asarray(x)), apart.norm(dim=1).numpy(), rtol=1e-5
        )
        velocity = perceptron(jax.random.key(2), (6, 8, 8, 5))
        start = torch.cat([torch.tensor(x), torch.zeros(9, 1)], dim=1)
        noise = torch.tensor(x) + torch_perceptron(velocity)(start)
        np.testing.assert_allclose(
            height(velocity, jnp.asarray(x)), (noise**2).sum(1).numpy(), rtol=1e-4
        )
    again = unflattened("v", flattened("v", velocity), 3)
    begun = jnp.asarray(start.numpy())
    np.testing.assert_array_equal(applied(again, begun), applied(velocity, begun))


def test_a_flow_is_low_where_it_learnt_and_high_elsewhere():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 4)).astype(np.float32)
    start = perceptron(jax.random.key(0), (5, 32, 32, 4))
    learnt = descend(matching_loss, start, [], rows, 1, lambda blocks: None)
    fresh, far = rng.normal(size=(2, 300, 4)).astype(np.float32)
    far += 6.0
    both = height(learnt, jnp.concatenate([fresh, far]))
    assert roc_auc_score(np.arange(600) >= 300, both) > 0.95


def torch_lstm(weights) -> torch.nn.LSTM:
    lstm = torch.nn.LSTM(WIDTH, HIDDEN, batch_first=True)
    with torch.no_grad():
        for name, value in (
            ("weight_ih_l0", weights["input_kernel"].T),
            ("weight_hh_l0", weights["state_kernel"].T),
            ("bias_ih_l0", weights["gate_bias"]),
            ("bias_hh_l0", np.zeros_like(weights["gate_bias"])),
        ):
            getattr(lstm, name).copy_(torch.tensor(np.array(value)))
    return lstm


def test_lstm_is_that_of_torch():
    weights = jax.device_get(lstm_initial(jax.random.key(1), WIDTH))
    x = np.random.default_rng(0).normal(size=(3, 9, WIDTH)).astype(np.float32)
    with torch.no_grad():
        hidden = torch_lstm(weights)(torch.tensor(x))[0].numpy()
    expected = hidden @ weights["output_kernel"] + weights["output_bias"]
    np.testing.assert_allclose(lstm_logits(weights, jnp.asarray(x)), expected, atol=1e-5)


@pytest.mark.parametrize(("network", "loss"), [(MLP, summed_loss), (LSTM, entropy_loss)])
def test_training_is_that_of_torch_with_the_published_losses(network, loss):
    """Some epochs of one batch: SAFE's loss, class weights, L2 and Adam, written again in torch."""
    rng, epochs, episodes, queries = np.random.default_rng(0), 6, 10, 7
    x = rng.normal(size=(episodes, queries, WIDTH)).astype(np.float32)
    failed, length = np.arange(episodes) % 3 == 0, rng.integers(3, queries + 1, episodes)
    here = np.arange(queries) < length[:, None]
    class_weight = episodes / (1 + np.where(failed, failed.sum(), (~failed).sum()))
    weight = (here * (class_weight / length)[:, None]).astype(np.float32)
    label = np.repeat(failed[:, None], queries, axis=1)
    mean, scale = np.zeros((1, WIDTH), np.float32), np.ones((1, WIDTH), np.float32)
    found = fit_network(network, loss, Sequences(x, mean, scale, label, weight[None]), epochs)

    start = jax.device_get(network.initial(jax.random.key(0), WIDTH))
    theirs = {n: torch.tensor(np.array(leaf), requires_grad=True) for n, leaf in start.items()}
    adam = torch.optim.Adam(theirs.values(), lr=network.learning_rate)
    seen, outcome = torch.tensor(x), torch.tensor(label).float()

    def logits() -> torch.Tensor:
        if network is MLP:
            hidden = torch.relu(seen @ theirs["hidden_kernel"] + theirs["hidden_bias"])
        else:
            state = (torch.zeros(episodes, HIDDEN), torch.zeros(episodes, HIDDEN))
            steps = []
            for at in range(queries):
                gates = seen[:, at] @ theirs["input_kernel"] + theirs["gate_bias"]
                i, f, g, o = (gates + state[0] @ theirs["state_kernel"]).chunk(4, dim=1)
                cell = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
                state = (torch.sigmoid(o) * torch.tanh(cell), cell)
                steps.append(state[0])
            hidden = torch.stack(steps, dim=1)
        return hidden @ theirs["output_kernel"] + theirs["output_bias"]

    for _ in range(epochs):
        said = torch.sigmoid(logits())
        if network is MLP:
            lost = torch.cumsum(said, dim=1) * (1 - 2 * outcome)
        else:
            lost = torch.nn.functional.binary_cross_entropy(said, outcome, reduction="none")
        per_episode = (lost * torch.tensor(here)).sum(1) / torch.tensor(length)
        penalty = sum((leaf**2).sum() for n, leaf in theirs.items() if n.endswith("kernel"))
        total = (per_episode * torch.tensor(class_weight)).mean() + L2 * penalty
        adam.zero_grad()
        total.backward()
        adam.step()
    for name, leaf in theirs.items():
        np.testing.assert_allclose(found[name][0], leaf.detach().numpy(), atol=2e-4, err_msg=name)


def test_a_member_does_not_depend_on_the_members_beside_it():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3, 4)).astype(np.float32)
    weight = np.ones((2, 80, 3), np.float32)
    weight[1, 20:] = 0  # one batch an epoch beside two
    label = rng.random((80, 3)) < 0.5
    norm = np.zeros((2, 4), np.float32), np.ones((2, 4), np.float32)
    both = fit_network(MLP, entropy_loss, Sequences(x, *norm, label, weight), 3)
    # Of the same batch size: alone, but with a second member as large.
    norm = norm[0][:1], norm[1][:1]
    first = fit_network(MLP, entropy_loss, Sequences(x, *norm, label, weight[:1]), 3)
    for name, leaf in first.items():
        np.testing.assert_allclose(both[name][0], leaf[0], atol=1e-6)
    assert np.abs(both["hidden_kernel"][0] - both["hidden_kernel"][1]).max() > 1e-4


def test_the_reader_says_what_members_and_calibrations_say_outside():
    samples, plan = planted()
    plan = replace(plan, last_layer=1)
    members = fitted(MAHALANOBIS.twin, samples, plan)
    assert [int(member["layer"]) for member in members] == [1, 1, 1]
    rng = np.random.default_rng(0)
    platts = [
        Platt(rng.random(14).astype(np.float32), rng.normal(size=14).astype(np.float32))
        for _ in range(4)
    ]
    reader = MAHALANOBIS.twin.ship(members, platts[:3], platts[3], samples, plan)
    scores = [MAHALANOBIS.twin.score(member, samples) for member in members]
    each = [platt(score) for platt, score in zip(platts, scores, strict=False)]
    expected = expit(platts[3].scale * log_odds(np.mean(each, axis=0)) + platts[3].shift)
    activation = jnp.asarray(samples.activation[:, 0])
    assert reader.reads(SITE, jnp.int32(1))
    assert not reader.reads(SITE, jnp.int32(LAST))
    reading = reader.absorb(reader.start(len(samples)), SITE, jnp.int32(1), activation)
    risk, memory = reader.forecast(reading, jnp.zeros((len(samples), 8)), reader.no_memory(1))
    np.testing.assert_allclose(risk, expected, atol=2e-4)
    assert (reader.sites, reader.widths, memory) == ((SITE,), (WIDTH,), ())


def test_stac_compares_plans_for_the_same_steps():
    samples, plan = planted()
    rng = np.random.default_rng(0)
    agreed = rng.normal(size=(len(samples), 16, 7)).astype(np.float32)
    # What every plan says of the steps since the query before: rows 0..7, then this query's own.
    action = np.zeros((len(samples), 8, 7), np.float32)
    overlap = np.full((len(samples), 8, 7), np.nan, np.float32)
    first = samples.previous == np.arange(len(samples))
    action[:] = agreed[:, 8:]
    follows = ~first
    action[samples.previous[follows]] = agreed[follows, :8]
    overlap[follows, :4] = action[samples.previous[follows], 4:]
    overlap[follows, 4:] = action[follows, :4]
    consistent = replace(samples, action=action.reshape(len(samples), -1), overlap=overlap)
    member = fitted(STAC, consistent, plan)[0]
    np.testing.assert_allclose(STAC.score(member, consistent), 0.0, atol=1e-6)
    moved = overlap.copy()
    moved[:, :, :2] += np.asarray([3.0, 4.0], np.float32)  # a norm of 5 in both comparisons
    score = STAC.score(member, replace(consistent, overlap=moved))
    np.testing.assert_allclose(score, np.where(first, 0.0, 5.0), atol=1e-5)
    late = overlap.copy()
    late[:, 4:, 0] += 2.0  # only the newer comparison
    score = STAC.score(member, replace(consistent, overlap=late))
    np.testing.assert_allclose(score, np.where(first, 0.0, 1.0), atol=1e-5)


def test_input_variance_is_the_total_over_the_arm():
    samples, plan = planted()
    spread = np.random.default_rng(0).random((len(samples), 7)).astype(np.float32)
    probed = replace(samples, spread=spread)
    score = INPUT_VARIANCE.score(fitted(INPUT_VARIANCE, probed, plan)[0], probed)
    np.testing.assert_allclose(score, (spread[:, :6].astype(float) ** 2).sum(axis=1))


def test_data_without_probes_are_one_line():
    samples, plan = planted()
    for detector in PROBED:
        line = f"{detector.name} needs data collected with --probes="
        with pytest.raises(UserError, match=line):
            detector.score(fitted(detector, samples, plan)[0], samples)


def test_probes_are_gathered_where_every_episode_has_them():
    plain = episode(length=24)
    queries = replace(plain.queries, spread=np.arange(21, dtype=np.float32).reshape(3, 7))
    probed = replace(plain, queries=queries)
    both = gather_samples([probed, probed], SITE)
    assert both.spread is not None
    np.testing.assert_array_equal(both.spread[3:], queries.spread)
    assert both.overlap is None
    assert gather_samples([probed, plain], SITE).spread is None
