"""Equivalence and non-inferiority of paired rates: no false one, by simulation and brute force."""

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize_scalar
from statsmodels.stats.contingency_tables import mcnemar

from mist_jax.evaluation.equivalence import equivalence_p, noninferiority_p, score

RUNS = 4000
ALLOWED = 0.05 + 3 * np.sqrt(0.05 * 0.95 / RUNS)  # what 5% may look like in as many draws


@lru_cache(maxsize=10_000)
def p_of(won: int, lost: int, n: int, margin: float) -> float:
    pairs = np.repeat([1.0, -1.0, 0.0], [won, lost, n - won - lost])
    return equivalence_p(pairs, np.arange(n), margin)


@pytest.mark.parametrize("n", [60, 100, 200])
@pytest.mark.parametrize("margin", [0.05, 0.1])
@pytest.mark.parametrize("rare", [0.0, 0.005, 0.02])
def test_rare_outcomes_that_differ_by_the_margin_are_called_equal_in_5_percent_at_most(
    n, margin, rare
):
    rng = np.random.default_rng(n)
    for rates in ((rare + margin, rare), (rare, rare + margin)):
        drawn = rng.multinomial(n, [*rates, 1 - sum(rates)], size=RUNS)
        false = np.mean([p_of(int(won), int(lost), n, margin) < 0.05 for won, lost, _ in drawn])
        assert false <= ALLOWED


@pytest.mark.parametrize("alike", [0.0, 0.7, 1.0])
def test_seeds_of_one_scene_do_not_make_equivalence_false(alike):
    """Three pairs a scene: each repeats the scene's outcome in a share `alike` of the draws."""
    rng = np.random.default_rng(1)
    clusters, each, margin, runs = 60, 3, 0.1, 1000
    rates, cluster = [margin + 0.01, 0.01, 0.89 - margin + 0.09], np.repeat(np.arange(60), 3)
    false = 0
    for _ in range(runs):
        scene = rng.choice([1.0, -1.0, 0.0], p=rates, size=(clusters, 1))
        own = rng.choice([1.0, -1.0, 0.0], p=rates, size=(clusters, each))
        pairs = np.where(rng.random((clusters, each)) < alike, scene, own)
        false += equivalence_p(pairs.ravel(), cluster, margin) < 0.05
    assert false / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


def test_pairs_of_one_cluster_that_are_all_alike_are_one_pair():
    pairs = np.repeat([1.0, -1.0, 0.0], [2, 1, 97])
    once = equivalence_p(pairs, np.arange(100), 0.1)
    assert equivalence_p(np.repeat(pairs, 4), np.repeat(np.arange(100), 4), 0.1) == once
    assert equivalence_p(np.repeat(pairs, 4), np.arange(400), 0.1) < once


counts = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 60))


@settings(max_examples=60)
@given(counts, st.sampled_from([0.02, 0.05, 0.1, 0.3]))
def test_the_score_is_that_of_the_restricted_likelihood_by_brute_force(drawn, difference):
    won, lost, equal = drawn
    n = won + lost + equal

    def against(rate: float) -> float:
        rates = np.clip([rate + difference, rate, 1 - difference - 2 * rate], 1e-12, 1)
        return -float(np.dot([won, lost, equal], np.log(rates)))

    most = (1 - difference) / 2
    found = minimize_scalar(against, bounds=(0, most), method="bounded", options={"xatol": 1e-10})
    rate = min([found.x, 0.0, most], key=against)
    expected = (won - lost - n * difference) / np.sqrt(n * (2 * rate + difference - difference**2))
    got = score(np.asarray(won), np.asarray(lost), n, difference)
    assert got == pytest.approx(expected, abs=1e-4)


@given(st.integers(1, 30), st.integers(0, 30), st.integers(0, 30))
def test_at_no_difference_the_score_is_mcnemars_of_statsmodels(won, lost, equal):
    table = [[equal, won], [lost, 0]]
    expected = mcnemar(table, exact=False, correction=False).statistic  # pyright: ignore[reportAttributeAccessIssue]
    n = won + lost + equal
    assert score(np.asarray(won), np.asarray(lost), n, 0.0) ** 2 == pytest.approx(expected)


@pytest.mark.parametrize(("won", "lost", "n"), [(0, 0, 12), (1, 1, 15), (0, 2, 20), (3, 0, 20)])
def test_the_p_value_is_the_enumeration_of_all_tables_at_the_worst_rate(won, lost, n):
    margin, worst = 0.2, 0.0
    seen = score(np.asarray(lost), np.asarray(won), n, margin)
    tables = [(a, b, n - a - b) for a in range(n + 1) for b in range(n + 1 - a)]
    more, less = (np.asarray([one[i] for one in tables]) for i in (0, 1))
    extreme = np.asarray(tables)[score(more, less, n, margin) <= seen + 1e-9]
    for rate in np.linspace(0, (1 - margin) / 2, 200):
        rates = [rate + margin, rate, 1 - margin - 2 * rate]
        worst = max(worst, stats.multinomial.pmf(extreme, n, rates).sum())
    pairs = np.repeat([1.0, -1.0, 0.0], [won, lost, n - won - lost])
    assert noninferiority_p(pairs, np.arange(n), margin) == pytest.approx(worst, abs=2e-3)


def test_a_few_equal_pairs_do_not_show_equivalence_and_many_do():
    assert equivalence_p(np.zeros(20), np.arange(20), 0.05) > 0.3
    assert equivalence_p(np.zeros(60), np.arange(60), 0.05) < 0.05
    assert equivalence_p(np.ones(60), np.arange(60), 0.05) == 1.0
    assert equivalence_p(np.zeros(60), np.arange(60), 0.0) == 1.0


def test_non_inferiority_looks_one_way_only():
    better = np.repeat([1.0, 0.0], [30, 30])
    assert noninferiority_p(better, np.arange(60), 0.05) < 0.01
    assert noninferiority_p(-better, np.arange(60), 0.05) > 0.99
    assert equivalence_p(better, np.arange(60), 0.05) > 0.99


@settings(max_examples=50)
@given(st.sampled_from([30, 60, 100]), st.integers(0, 12), st.integers(0, 12))
def test_what_is_equal_within_a_margin_is_equal_within_a_wider_one(n, won, lost):
    shown = [p_of(won, lost, n, margin) < 0.05 for margin in (0.05, 0.1, 0.3)]
    assert shown == sorted(shown)
