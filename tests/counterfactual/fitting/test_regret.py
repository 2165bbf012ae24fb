"""What a choice among offsets avoids of what could be avoided, counted branch by branch."""

import numpy as np
import pytest

from mist_jax.counterfactual.fitting.policies import ZERO, of_weights, only
from mist_jax.counterfactual.fitting.regret import avoided_rows, best_ends, regrets
from mist_jax.counterfactual.fitting.search import scene_folds
from mist_jax.errors import UserError
from mist_jax.risk.judging.metrics import cluster_weights
from tests.helpers.synthetic_branches import branch_table

FAILURE = 0.5


@pytest.fixture(scope="module")
def told():
    """Standing pat, the branch of least harm of each fork, and always the first other offset."""
    table = branch_table(forks=200, scenes=60).table
    choices = {
        ZERO: np.full(len(table), table.zero),
        "least harm": table.later.argmin(axis=1),
        "first": np.full(len(table), 1),
    }
    count = len(table.offsets)
    policies = {name: of_weights(table, only(at, count)) for name, at in choices.items()}
    draws = cluster_weights(table.scene, 200, 0)
    rows = np.arange(len(table)) % 3 > 0
    return table, choices, rows, regrets(policies, table, draws, FAILURE, rows)


def test_who_chooses_the_least_harm_avoids_all_that_can_be_and_standing_pat_nothing(told):
    _, _, _, found = told
    assert found["least harm"]["later avoided"] == 1
    assert found["least harm"]["later avoided interval"] == (1, 1)
    assert found[ZERO]["later avoided"] == 0
    assert found[ZERO]["soon avoided"] == 0


def test_shares_and_regrets_are_counted_over_the_named_forks(told):
    table, choices, rows, found = told
    avoidable = harm = regret = 0.0
    forks = np.flatnonzero(rows)
    for fork in forks:
        own, still = choices["first"][fork], table.later[fork, table.zero]
        harm += float(still) - table.later[fork, own]
        avoidable += float(still) - table.later[fork].min()
        loss = table.later[fork] + FAILURE * (1 - table.success[fork].astype(float))
        regret += loss[own] - loss.min()
    assert found["first"]["later avoided"] == pytest.approx(harm / avoidable)
    assert found["first"]["regret"] == pytest.approx(regret / len(forks))
    assert found["avoidable"]["later"] == pytest.approx(avoidable / len(forks))
    low, high = found["first"]["later avoided interval"]
    assert low <= found["first"]["later avoided"] <= high
    assert found[ZERO]["regret"] >= 0


def test_best_ends_are_each_by_itself():
    table = branch_table(forks=50, scenes=20).table
    best = best_ends(table, FAILURE)
    assert (best["loss"] >= best["later"] + FAILURE * (1 - best["success"]) - 1e-9).all()
    assert (best["soon"] <= best["later"]).all()


def test_where_no_fork_is_there_nothing_is_told(told):
    table, _, rows, _ = told
    assert regrets({}, table, np.ones((3, len(table))), FAILURE, rows & ~rows) == {}


def test_rows_to_print_have_a_share_with_its_interval():
    policy = {"acts": 0.5, "soon": 0.25, "later": 0.5, "success": 0.75}
    own = {"later avoided": 0.4, "later avoided interval": (0.1, 0.6), "regret": 0.25}
    none = {"later avoided": None, "later avoided interval": None, "regret": 0.0}
    report = {"policies": {"a": policy, "b": policy}, "avoided": {"a": own, "b": none}}
    assert avoided_rows(report, "") == [
        ("a", "50.0%", "25.0%", "50.0%", "75.0%", "40% (10% to 60%)", "0.250"),
        ("b", "50.0%", "25.0%", "50.0%", "75.0%", "", "0.000"),
    ]


def test_whole_tasks_can_be_held_out_and_one_task_cannot():
    table = branch_table(forks=200, scenes=60).table
    folds = scene_folds(table, 5, 0, "task")
    for task in np.unique(table.task):
        assert len(set(folds[table.task == task])) == 1
    assert len(set(folds)) == 5
    with pytest.raises(UserError, match="from one task"):
        scene_folds(table.rows(table.task == table.task[0]), 5, 0, "task")
