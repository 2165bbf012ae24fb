"""Metrics against scikit-learn, and what must hold of intervals and alarms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit as special_logit
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from mist_jax.risk.calibration.any_event import any_event, any_event_logit
from mist_jax.risk.features import Samples, gather_samples
from mist_jax.risk.judging.alarms import alarm_figures, raise_alarms
from mist_jax.risk.judging.announcing import announced_at, announcing, trade_off
from mist_jax.risk.judging.metrics import (
    auroc,
    average_precision,
    calibration_error,
    cluster_weights,
    interval,
)
from mist_jax.risk.judging.ranking import Ranking
from mist_jax.risk.judging.resampling import Resampling
from mist_jax.risk.judging.verdict import clusters_compared
from mist_jax.risk.judging.views import FIRST, UNPUSHED, views_of
from tests.helpers.synthetic_episodes import SITE, contact, episode, perturbed

data = st.integers(0, 10_000).map(np.random.default_rng)


@settings(max_examples=50)
@given(data, st.integers(5, 80), st.integers(2, 12))
def test_auroc_and_average_precision_are_sklearns_with_ties_and_weights(rng, count, levels):
    score = rng.integers(0, levels, count) / levels
    label = rng.random(count) < 0.3
    label[:2] = True, False
    weight = rng.integers(0, 4, count).astype(float)
    weight[:2] = 1
    both = np.stack([np.ones(count), weight])
    for row, given_weight in enumerate((None, weight)):
        np.testing.assert_allclose(
            auroc(score, label, both)[row], roc_auc_score(label, score, sample_weight=given_weight)
        )
        np.testing.assert_allclose(
            average_precision(score, label, both)[row],
            average_precision_score(label, score, sample_weight=given_weight),
        )


@pytest.mark.parametrize("label", [np.ones(5, bool), np.zeros(5, bool)])
def test_one_class_is_undefined_never_a_half(label):
    assert np.isnan(auroc(np.arange(5.0), label)[0])


def test_strata_compare_only_within_themselves():
    rng = np.random.default_rng(0)
    score, label = rng.normal(size=200), rng.random(200) < 0.4
    stratum = rng.integers(0, 3, 200)
    shifted = score + 100 * stratum
    pairs = [(label[stratum == s].sum() * (~label[stratum == s]).sum()) for s in range(3)]
    each = [roc_auc_score(label[stratum == s], score[stratum == s]) for s in range(3)]
    expected = np.average(each, weights=pairs)
    np.testing.assert_allclose(auroc(shifted, label, stratum=stratum)[0], expected)


def test_calibration_error_is_that_of_sklearns_bins():
    rng = np.random.default_rng(1)
    probability = rng.random(3000)
    label = rng.random(3000) < probability**1.5
    seen, said = calibration_curve(label, probability, n_bins=15)
    counts = np.histogram(probability, bins=np.linspace(0, 1, 16))[0]
    expected = np.average(np.abs(seen - said), weights=counts)
    np.testing.assert_allclose(calibration_error(probability, label)[0], expected, atol=1e-9)


def test_cluster_weights_draw_whole_clusters():
    cluster = np.array([5, 5, 9, 2, 2, 2])
    weights = cluster_weights(cluster, 50, 0)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, 0] + weights[:, 2] + weights[:, 3] == 3).all()


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """Clustered scores: the naive interval would be far too narrow."""
    rng, hits = np.random.default_rng(2), 0
    for trial in range(60):
        cluster = np.repeat(np.arange(40), 8)
        label = np.repeat(rng.random(40) < 0.5, 8)
        score = np.repeat(rng.normal(size=40), 8) + 0.1 * rng.normal(size=320)
        low, high = interval(auroc(score, label, cluster_weights(cluster, 200, trial))) or (1, 0)
        hits += low <= 0.5 <= high
    assert hits >= 50


def test_undefined_replicates_make_no_interval():
    assert interval(np.array([0.5] * 8 + [np.nan] * 2)) is None


@settings(max_examples=40)
@given(data, st.integers(10, 120), st.integers(2, 12))
def test_counts_per_pair_of_scenes_give_the_metrics_of_every_resample(rng, count, levels):
    """Against the metrics on weighted queries, which are scikit-learn's: ties, strata, clusters."""
    cluster = rng.integers(0, 8, count)
    stratum = np.where(rng.random(count) < 0.1, 0, cluster % 3)  # some scenes in several strata
    label = rng.random(count) < 0.3
    score = rng.integers(0, levels, count) / levels
    drawn = Resampling.draw(8, 15, 0)
    weight = drawn.weight[:, cluster]
    ranking = Ranking(label, cluster, stratum, drawn)
    np.testing.assert_allclose(ranking.auroc(score), auroc(score, label, weight, stratum))
    np.testing.assert_allclose(
        ranking.average_precision(score), average_precision(score, label, weight, stratum)
    )
    np.testing.assert_allclose(
        drawn.calibration_error(score, label, cluster), calibration_error(score, label, weight)
    )
    np.testing.assert_allclose(
        drawn.share(label.astype(float), np.ones(count), cluster),
        weight @ label / weight.sum(axis=1),
    )


def test_resamples_draw_whole_scenes_and_the_first_is_the_data():
    drawn = Resampling.draw(7, 50, 0).weight
    assert (drawn[0] == 1).all()
    assert (drawn.sum(axis=1) == 7).all()


def table() -> Samples:
    """Task 0: events at 40 and 80 in scene 0, clean in scene 1; queries every 8 steps."""
    events = [contact(40, {0: 1.0}), contact(80, {0: 1.0}, pair=("hand", "bowl"))]
    return gather_samples([episode(events), episode(state=1)], SITE, horizon=16, target="all")


def test_alarm_figures_on_a_case_counted_by_hand():
    samples = table()
    risk = np.zeros((len(samples), 14))
    risk[4, 0] = 0.9  # step 32: announces the event at 40
    risk[1, 0] = 0.9  # step 8: nothing follows
    risk[12 + 3, 0] = risk[12 + 4, 0] = risk[12 + 8, 0] = 0.9  # two runs in the clean episode
    figures = alarm_figures(
        raise_alarms(risk, np.full(14, 0.5), samples), samples, np.arange(14) == 0
    )
    assert figures.alarms == 5
    assert figures.precision == pytest.approx(1 / 5)
    assert (figures.events, figures.announced, figures.lead_steps) == (2, 0.5, 8.0)
    assert (figures.clean_episodes, figures.clean_episodes_alarmed) == (1, 1.0)
    assert figures.false_alarms_per_clean_episode == 2.0


@pytest.mark.parametrize(
    ("steps", "ahead", "in_time", "lead"),
    [
        ((), 0, 0, np.nan),
        ((40,), 0, 0, np.nan),  # the chunk that hits
        ((32,), 1, 1, 8.0),
        ((8, 32), 1, 1, 32.0),
        ((8,), 1, 0, 32.0),  # long before: an alarm on the episode, not within the horizon
        ((48, 64), 0, 0, np.nan),  # after the first event, whatever it announces
    ],
)
def test_first_events_are_announced_a_query_ahead_or_not_at_all(steps, ahead, in_time, lead):
    samples = table()
    raised = np.isin(samples.step, steps) & (samples.episode == 0)
    told = announcing(samples, raised, np.asarray([0, 1])).figures(Resampling.draw(2, 5, 0))
    assert told["announced_ahead"][0] == ahead
    assert told["announced_within_horizon"][0] == in_time
    np.testing.assert_equal(told["lead_steps"][0], lead)
    assert told["clean_episodes_alarmed"][0] == 0


def test_an_event_between_the_horizons_of_two_queries_is_an_event():
    made = [episode([contact(13, {0: 1.0})]), episode([], state=1)]
    samples = gather_samples(made, SITE, horizon=4)  # a query every 8 steps
    raised = (samples.step == 0) & (samples.episode == 0)
    told = announcing(samples, raised, np.asarray([0, 1])).figures(Resampling.draw(2, 5, 0))
    assert told["announced_ahead"][0] == 1
    assert told["lead_steps"][0] == 13
    assert np.isnan(told["announced_within_horizon"][0])  # no query could


def test_clean_episodes_and_runs_of_alarms_are_counted_in_clean_episodes_alone():
    samples = table()
    raised = np.isin(samples.step, (0, 8, 24))
    told = announcing(samples, raised, np.asarray([0, 1])).figures(Resampling.draw(2, 5, 0))
    assert told["clean_episodes_alarmed"][0] == 1
    assert told["false_alarms_per_clean_episode"][0] == 2


def test_the_trade_off_is_the_roc_of_episode_peaks():
    """scikit-learn's curve, of each clean episode's peak and each eventful one's ahead of time."""
    rng = np.random.default_rng(0)
    made = [episode([contact(41, {0: 1.0})] if s % 2 else [], state=s) for s in range(30)]
    samples = gather_samples(made, SITE, horizon=16)
    score = rng.normal(size=len(samples))
    alarmed, announced = trade_off(samples, score)
    early = np.where(samples.episode % 2 == 1, samples.step <= 33, True)
    peaks = [score[(samples.episode == e) & early].max() for e in range(30)]
    false, true, _ = roc_curve(np.arange(30) % 2 == 1, peaks, drop_intermediate=False)
    known = set(zip(alarmed.round(9), announced.round(9), strict=True))
    assert set(zip(false.round(9), true.round(9), strict=True)) <= known
    best = max(y for x, y in known if x <= 0.2)
    assert announced_at(samples, score, 0.2) == pytest.approx(best)


@settings(max_examples=30)
@given(data)
def test_the_risk_of_any_event_is_one_minus_the_product_of_what_usable_motions_leave(rng):
    risk = rng.random((20, 14)).astype(np.float32) ** 3
    usable = rng.random(14) < 0.5
    usable[0] = True
    expected = 1 - np.prod(1 - risk[:, usable].astype(np.float64), axis=1)
    np.testing.assert_allclose(any_event(risk, usable), expected, atol=1e-12)
    np.testing.assert_allclose(any_event_logit(risk, usable), special_logit(expected), atol=1e-6)
    assert np.isnan(any_event(risk, np.zeros(14, bool))).all()
    assert not any_event_logit(risk, np.zeros(14, bool)).any()


def test_the_log_odds_of_any_event_are_finite_and_ordered_where_risks_are_next_to_0_or_1():
    """Rules rank by it: no ties where floats would round the probability to 0 or 1."""
    risk = np.tile([0.0, 1e-9, 1e-4, 0.5, 1 - 1e-4, 1 - 1e-7], (2, 1)).T
    odds = any_event_logit(risk, np.ones(2, bool))
    assert np.isfinite(odds).all()
    assert (np.diff(odds) > 0.5).all()
    assert np.isfinite(any_event_logit(np.ones((1, 14)), np.ones(14, bool))).all()


def test_events_that_a_perturbation_had_a_hand_in_are_dropped_from_that_view_alone():
    pushed = perturbed(episode([contact(41, {0: 1.0})]), range(30, 41))
    samples = gather_samples([pushed, episode([contact(41, {0: 1.0})], state=1)], SITE)
    views = views_of(samples)
    assert views[FIRST].any.sum() == 2 * views[UNPUSHED].any.sum() > 0
    dropped = set(views[FIRST].rows) - set(views[UNPUSHED].rows)
    assert dropped == set(np.flatnonzero(samples.label.any_risk & (samples.episode == 0)))


@settings(max_examples=60)
@given(data, st.integers(1, 40))
def test_scenes_that_a_figure_rests_on_are_those_with_a_pair_that_is_compared(rng, count):
    label = rng.random(count) < 0.3
    cluster, stratum = rng.integers(0, 6, count), rng.integers(0, 4, count)
    pairs = [
        (cluster[i], cluster[j])
        for i in np.flatnonzero(label)
        for j in np.flatnonzero(~label)
        if stratum[i] == stratum[j]
    ]
    fewer = min(len({a for a, _ in pairs}), len({b for _, b in pairs}))
    assert clusters_compared(label, cluster, stratum) == fewer
