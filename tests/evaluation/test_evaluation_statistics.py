"""The statistics of a report against statsmodels, SciPy, brute force and simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from mist_jax.evaluation.statistics import (
    cluster_mean,
    cluster_sums,
    holm,
    sign_flip_p,
    wilson,
)


def mcnemar_p(table) -> float:
    return mcnemar(table, exact=True).pvalue  # pyright: ignore[reportAttributeAccessIssue]


p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (481, 500)])
def test_wilson_is_statsmodels_interval(successes, n):
    expected = proportion_confint(successes, n, method="wilson")
    assert wilson(successes, n) == pytest.approx(expected, abs=1e-12)


def test_holm_on_the_case_that_a_broken_pass_gets_wrong():
    assert holm([0.001, 0.02, 0.9]) == pytest.approx([0.003, 0.04, 0.9])


@settings(max_examples=30)  # statsmodels takes its time
@given(p_values)
def test_holm_is_statsmodels_holm(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


@given(p_values, st.data())
def test_holm_keeps_the_order_and_never_helps(p, data):
    adjusted = holm(p)
    assert all(before <= after <= 1 for before, after in zip(p, adjusted, strict=True))
    for i, j in itertools.permutations(range(len(p)), 2):
        if p[i] <= p[j]:
            assert adjusted[i] <= adjusted[j]
    i = data.draw(st.integers(0, len(p) - 1))
    larger = [*p[:i], data.draw(st.floats(p[i], 1)), *p[i + 1 :]]
    assert all(a <= b + 1e-12 for a, b in zip(adjusted, holm(larger), strict=True))


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 5))
def test_sign_flips_of_single_pairs_are_mcnemars_exact_test(better, worse, equal):
    differences = np.array([1] * better + [-1] * worse + [0] * equal)
    table = [[equal, better], [worse, 0]]
    assert sign_flip_p(differences) == pytest.approx(min(mcnemar_p(table), 1))


@settings(max_examples=50)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_sign_flips_are_the_enumeration_of_all_signs(sums):
    signs = itertools.product([-1, 1], repeat=len(sums))
    flipped = [abs(np.dot(sign, sums)) >= abs(sum(sums)) for sign in signs]
    assert sign_flip_p(np.array(sums)) == pytest.approx(np.mean(flipped))


def test_pairs_of_one_cluster_are_flipped_together():
    differences, cluster = np.ones(6), np.array([0, 0, 0, 1, 1, 1])
    assert sign_flip_p(cluster_sums(differences, cluster)) == pytest.approx(0.5)


def test_the_bootstrap_covers_the_truth_for_correlated_clusters():
    rng = np.random.default_rng(1)
    hits = naive = 0
    runs, clusters, each = 200, 40, 5
    cluster = np.repeat(np.arange(clusters), each)
    for run in range(runs):
        rate = rng.beta(0.6, 1.4, clusters)  # mean 0.3, strongly correlated within a cluster
        values = (rng.random((clusters, each)) < rate[:, None]).astype(float).ravel()
        estimate = cluster_mean(values, cluster, support=(0, 1), replicates=500, seed=run)
        assert estimate.low is not None
        assert estimate.high is not None
        hits += estimate.low <= 0.3 <= estimate.high
        low, high = wilson(int(values.sum()), len(values))
        naive += low <= 0.3 <= high
    assert hits / runs > 0.9
    assert naive / runs < 0.85  # what ignoring the clusters would do


def test_no_event_is_not_certainty():
    rate = cluster_mean(np.zeros(10), np.arange(10), support=(0.0, 1.0))
    assert rate.high is not None
    assert (rate.value, rate.low) == (0.0, 0.0)
    assert rate.high == pytest.approx(proportion_confint(0, 10, method="wilson")[1])
    one_scene = cluster_mean(np.array([0, 1, 1, 0.0]), np.zeros(4), support=(0.0, 1.0))
    two_alike = cluster_mean(np.array([0, 1, 1, 0.0]), np.array([0, 0, 1, 1]), support=(0.0, 1.0))
    bounds = [one_scene.low, two_alike.low, 0.5, two_alike.high, one_scene.high]
    assert bounds == sorted(set(bounds))
    difference = cluster_mean(np.zeros(10), np.arange(10), support=(-1.0, 1.0))
    assert (difference.low, difference.high) == (-rate.high, rate.high)
    assert cluster_mean(np.zeros(4), np.arange(4)).low is None


def test_undefined_values_are_left_out_and_counted_out():
    estimate = cluster_mean(np.array([1.0, np.nan, 3.0]), np.array([0, 1, 1]))
    assert (estimate.value, estimate.n, estimate.clusters) == (2.0, 2, 2)
    assert cluster_mean(np.array([np.nan]), np.array([0])).value is None
