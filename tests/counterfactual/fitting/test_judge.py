"""Held-out values of policies: right where the answer is known, and nothing leaks into them."""

from dataclasses import replace

import numpy as np
import pytest

from mist_jax.counterfactual.fitting.judge import FIXED, NORMAL, PLACEBO, RANDOM, VALUE, judge
from mist_jax.counterfactual.fitting.policies import CEILING, KNOWN_NORMAL, ZERO, along
from mist_jax.counterfactual.fitting.search import Search
from tests.helpers.synthetic_branches import branch_table

SEARCH = Search(kept=(4,), ridges=(10.0, np.inf), main_ridges=(30.0,), harms=("later",), folds=3)


@pytest.fixture(scope="module")
def oracle():
    return branch_table()


@pytest.fixture(scope="module")
def report(oracle):
    return judge(oracle.table, SEARCH)


def test_what_is_told_of_standing_pat_and_of_the_ceiling_is_counted(oracle, report):
    table, told = oracle.table, report["policies"]
    assert told[ZERO]["later"] == pytest.approx(table.later[:, 0].mean())
    assert told[ZERO]["success"] == pytest.approx(table.success[:, 0].mean())
    assert told[ZERO]["acts"] == 0
    best = (table.later + 1.0 - table.success).min(axis=1).mean()
    assert told[CEILING]["loss"] == pytest.approx(best)


def test_the_value_of_the_action_value_is_found_and_no_placebos_is(report):
    told = report["policies"]
    low, high = told[VALUE]["loss interval"]
    assert low < told[VALUE]["loss change"] < high < 0
    assert told[VALUE]["later change"] < -0.2
    for name in (PLACEBO, RANDOM):
        assert told[name]["later change"] > -0.08
        assert told[name]["acts"] > 0.5
    assert told[NORMAL]["later change"] < -0.2
    assert told[KNOWN_NORMAL]["later change"] < -0.2
    assert abs(told[FIXED]["later change"]) < 0.1
    assert report["within"]["harm"] > 0.75
    assert report["calibration"]["harm"] < 0.08


def test_a_lucky_fit_to_noise_has_no_value_on_held_out_scenes():
    table = branch_table(strength=0.0, known=1.0).table
    told = judge(table, SEARCH)
    assert told["policies"][VALUE]["loss change"] > -0.06
    assert told["within"]["harm"] == pytest.approx(0.5, abs=0.06)


def test_a_rule_is_judged_by_its_own_branches_and_stands_pat_elsewhere(oracle):
    table = oracle.table
    ends = np.stack([table.soon[:, 1], table.later[:, 1], table.success[:, 1]], axis=1).astype(
        float
    )
    ends[::2] = np.nan
    told = judge(replace(table, rules={"back": ends}), SEARCH)["policies"]["rule: back"]
    came = np.where(np.arange(len(table)) % 2 == 0, table.later[:, 0], table.later[:, 1])
    assert told["later"] == pytest.approx(came.mean())
    assert told["acts"] == pytest.approx(0.5, abs=0.01)


def test_the_offset_along_a_way_is_the_nearest_and_none_along_nothing():
    offsets = np.asarray([[0.0, 0, 0], [0.3, 0, 0], [-0.3, 0, 0], [0, 0.3, 0]])
    ways = np.asarray([[1.0, 0.5, 0], [-1, 0.2, 0], [0, 0, 0], [0, -1, 0]])
    assert along(offsets, ways).tolist() == [1, 2, 0, 0]
