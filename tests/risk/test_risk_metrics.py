"""Metrics against scikit-learn, and what must hold of intervals and alarms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, roc_auc_score

from mist_jax.risk.features import gather_samples
from mist_jax.risk.judging.alarms import alarm_figures, raise_alarms
from mist_jax.risk.judging.metrics import (
    auroc,
    average_precision,
    calibration_error,
    cluster_weights,
    interval,
)
from tests.helpers.synthetic_episodes import SITE, contact, episode

data = st.integers(0, 10_000).map(np.random.default_rng)


@settings(deadline=None, max_examples=50)
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


def test_alarm_figures_on_a_case_counted_by_hand():
    contacts = [contact(40, {0: 1.0}), contact(80, {0: 1.0})]
    samples = gather_samples([episode(contacts), episode(state=1)], SITE, horizon=16)
    risk = np.zeros((len(samples), 7))
    risk[4, 0] = 0.9  # step 32: announces the contact at 40
    risk[1, 0] = 0.9  # step 8: nothing follows
    risk[12 + 3, 0] = risk[12 + 4, 0] = risk[12 + 8, 0] = 0.9  # two runs in the clean episode
    figures = alarm_figures(
        raise_alarms(risk, np.full(7, 0.5), samples), samples, np.arange(7) == 0
    )
    assert figures.alarms == 5
    assert figures.precision == pytest.approx(1 / 5)
    assert (figures.contacts, figures.announced, figures.lead_steps) == (2, 0.5, 8.0)
    assert (figures.clean_episodes, figures.clean_episodes_alarmed) == (1, 1.0)
    assert figures.false_alarms_per_clean_episode == 2.0
