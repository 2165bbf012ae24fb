"""A study says what it was registered to say, in its order, and nothing before its end."""

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from mist_jax.evaluation.equivalence import noninferiority_p
from mist_jax.evaluation.study.endpoint import claim_p, primary_endpoints
from mist_jax.evaluation.study.findings import find
from mist_jax.evaluation.study.gatekeeping import gatekept
from tests.helpers.evaluation_samples import result
from tests.helpers.study_samples import registered, results_of

FEWER, _, SUCCESS = primary_endpoints()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_gatekeeping_is_the_closed_test_that_asks_the_first_hypothesis_of_each_set(p_values):
    """By enumeration: one is rejected where every set that holds it is, by its first member."""
    indices = range(len(p_values))
    sets = [one for size in indices for one in combinations(indices, size + 1)]
    expected = [max(p_values[min(one)] for one in sets if index in one) for index in indices]
    assert gatekept(p_values) == expected


@pytest.mark.parametrize("true", [(0,), (1,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
def test_any_false_claim_is_made_in_five_percent_of_studies_at_most(true):
    """Whichever hypotheses are true, p-values that depend on each other."""
    rng, runs = np.random.default_rng(0), 20_000
    common = rng.random((runs, 1))
    p = np.where(rng.random((runs, 3)) < 0.5, common, rng.random((runs, 3)))
    p[:, [i for i in range(3) if i not in true]] *= 1e-3  # shown almost surely
    false = [any(gatekept(row)[i] < 0.05 for i in true) for row in p]
    assert np.mean(false) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


def test_a_study_in_which_all_is_shown_says_so_with_exact_p_values():
    study = registered()
    found = find(results_of(study, {"none": 40, "placebo": 36, "mist": 10}, {"mist": 1}), study)
    assert found.missing == 0
    assert [one.verdict for one in found.endpoints] == ["better", "better", "no worse"]
    a, b, c = found.endpoints
    assert (a.won, a.lost, a.pairs, a.scenes, a.crashed) == (30, 0, 120, 120, 0)
    assert (b.won, b.lost) == (26, 0)
    assert a.p == pytest.approx(mcnemar([[0, 30], [0, 0]], exact=True).pvalue)  # pyright: ignore[reportAttributeAccessIssue]
    assert a.difference.value == pytest.approx(-30 / 120)
    gaps = np.repeat([0.0, -1.0], [119, 1])
    assert c.p == noninferiority_p(gaps, np.arange(120), 0.05)
    assert [one.p_gatekept for one in found.endpoints] == gatekept([a.p, b.p, c.p])


def test_an_endpoint_tells_what_is_left_without_the_task_that_it_owes_most_to():
    """Of `none`, 30 episodes of task 0 and 10 of task 1 hit something, of `mist` 10 of task 0."""
    study = registered()
    found = find(results_of(study, {"none": 40, "placebo": 36, "mist": 10}, {}), study)
    rest = found.endpoints[0].elsewhere
    assert rest is not None
    assert (rest.task_id, rest.won, rest.lost) == (0, 10, 0)
    assert rest.p == pytest.approx(mcnemar([[0, 10], [0, 0]], exact=True).pvalue)  # pyright: ignore[reportAttributeAccessIssue]
    assert found.endpoints[2].elsewhere is None
    single = registered(tasks=1, states=40)
    alone = find(results_of(single, {"none": 30}, {}), single)
    assert alone.endpoints[0].elsewhere is None


def test_an_endpoint_after_one_that_is_not_shown_cannot_be_judged():
    study = registered()
    found = find(results_of(study, {"none": 40, "placebo": 12, "mist": 10}, {}), study)
    assert [one.verdict for one in found.endpoints] == ["better", "not better", "cannot be judged"]
    last = found.endpoints[2]
    assert last.p < 0.05 < last.p_gatekept
    assert last.why == "(b), which comes before, is not shown"


def test_an_arm_that_hits_more_is_not_better_whatever_its_p():
    study = registered()
    found = find(results_of(study, {"none": 10, "placebo": 40, "mist": 40}, {}), study)
    assert found.endpoints[0].verdict == "not better"
    assert found.endpoints[0].p == 1.0
    assert {one.verdict for one in found.endpoints[1:]} == {"cannot be judged"}


def test_a_loss_of_success_by_the_margin_is_not_ruled_out():
    study = registered()
    hits = {"none": 60, "placebo": 60, "mist": 10}
    found = find(results_of(study, hits, {"mist": 6}), study)
    assert [one.verdict for one in found.endpoints] == ["better", "better", "not shown"]


@pytest.mark.parametrize("arm", ["none", "placebo", "mist"])
def test_before_the_last_registered_episode_nothing_is_said(arm):
    study = registered()
    results = results_of(study, {"none": 40, "placebo": 36, "mist": 10}, {})
    last = next(one for one in reversed(results) if one.arm == arm)
    found = find([one for one in results if one is not last], study)
    assert found.missing == 1
    assert {one.verdict for one in found.endpoints} == {"cannot be judged"}
    assert found.endpoints[0].why == "1 of 360 registered episodes were not run yet"


def test_episodes_that_were_not_registered_change_nothing():
    study = registered()
    results = results_of(study, {"none": 40, "placebo": 36, "mist": 10}, {})
    others = [
        dataclasses.replace(one, initial_state=one.initial_state + 500, harmful_contacts=0)
        for one in results
    ] + [dataclasses.replace(one, seed=1) for one in results]
    assert find([*others, *results], study) == find(results, study)


def test_a_pair_that_a_crash_took_counts_as_lost():
    study = registered()
    hits = {"none": 40, "placebo": 36, "mist": 10}
    found = find(results_of(study, hits, {}, crashed=9), study)
    a, _, c = found.endpoints
    assert (a.won, a.lost, a.crashed, a.pairs, a.scenes) == (30, 9, 9, 120, 111)
    assert (c.won, c.lost) == (0, 9)
    assert c.verdict == "not shown"
    assert a.difference.n == 111


def test_a_study_of_few_scenes_cannot_be_judged():
    study = registered(tasks=1, states=9)
    found = find(results_of(study, {"none": 9, "placebo": 9}, {}), study)
    assert found.endpoints[0].p < 0.05
    assert found.endpoints[0].verdict == "cannot be judged"
    assert found.endpoints[0].why == "9 scenes of at least 10"


def test_seeds_of_one_scene_are_flipped_together():
    gaps, cluster = np.ones(12), np.repeat(np.arange(6), 2)
    assert claim_p(FEWER, gaps, np.arange(12)) < 0.001
    assert claim_p(FEWER, gaps, cluster) == pytest.approx(2 / 2**6)
    assert claim_p(FEWER, -gaps, cluster) == 1.0
    assert claim_p(FEWER, np.zeros(0), np.zeros(0)) == claim_p(SUCCESS, np.zeros(0), np.zeros(0))


def test_no_result_at_all_is_a_study_that_has_not_begun():
    study = registered()
    found = find([result("none", 0, 0)], study)
    assert found.missing == 360
    assert {one.verdict for one in found.endpoints} == {"cannot be judged"}
