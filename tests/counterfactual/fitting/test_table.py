"""The table of forks, gathered from episodes as a collection writes them."""

from dataclasses import replace

import numpy as np
import pytest

from mist_jax.counterfactual.fitting.table import gather_branches
from mist_jax.errors import UserError
from tests.helpers.synthetic_branches import LAYER, READS, branch_episodes, branch_table, offsets

ORACLE = branch_table(forks=30, scenes=10)
EPISODES = branch_episodes(ORACLE)


def gather(episodes, **changed):
    return gather_branches(
        episodes, **({"offsets": offsets(), "reads": READS, "layer": LAYER} | changed)
    )


def in_order_of(table):
    """Row of the oracle's table of every gathered fork: their features are all different."""
    rows = [np.abs(ORACLE.table.features - one).max(1).argmin() for one in table.features]
    return np.asarray(rows)


def test_episodes_give_back_the_table_they_were_made_of():
    table = gather(EPISODES)
    rows = in_order_of(table)
    assert sorted(rows) == list(range(30))
    for name in ("features", "soon", "later", "success", "motions", "left", "step", "query"):
        np.testing.assert_array_equal(getattr(table, name), getattr(ORACLE.table, name)[rows])
    np.testing.assert_array_equal(table.instruction, ORACLE.table.instruction[rows])
    harmed = table.soon[:, table.zero]
    np.testing.assert_allclose(table.normal[harmed], ORACLE.table.normal[rows][harmed], atol=1e-6)
    np.testing.assert_array_equal(table.ahead[harmed], 3)
    together = table.scene[:, None] == table.scene
    np.testing.assert_array_equal(
        together, (ORACLE.table.scene[:, None] == ORACLE.table.scene)[np.ix_(rows, rows)]
    )


def test_harm_before_the_fork_is_not_the_branchs():
    early = [
        replace(one, contacts=tuple(replace(c, step=c.step - 40) for c in one.contacts))
        for one in EPISODES
    ]
    table = gather(early)
    assert not table.later.any()
    assert not table.soon.any()
    assert np.isinf(table.ahead).all()


def test_the_horizon_says_what_is_soon():
    table = gather(EPISODES, horizon=31)
    np.testing.assert_array_equal(table.soon, table.later)
    assert not gather(EPISODES, horizon=3).soon.any()


def test_a_fork_without_all_of_its_branches_is_left_out():
    crashed = [replace(EPISODES[2], outcome="crashed"), *EPISODES[:2], *EPISODES[3:]]
    for episodes in (EPISODES[1:], crashed):
        table = gather(episodes)
        assert (len(table), table.left_out) == (29, 1)


def test_branches_of_a_change_of_their_own_are_rules():
    back = [
        replace(one, key=replace(one.key, arm=one.key.arm.replace(":x+", ":back")))
        for one in EPISODES
        if one.key.arm.endswith(":x+")
    ]
    table = gather([*EPISODES, *back[:10]])
    x = table.names.index("x+")
    there = np.isfinite(table.rules["back"]).all(axis=1)
    assert there.sum() == 10
    want = np.stack([table.soon[:, x], table.later[:, x], table.success[:, x]], axis=1)
    np.testing.assert_array_equal(table.rules["back"][there], want[there])
    assert len(table.rows(there).rules["back"]) == 10


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"layer": 3}, "layer 3 of llm.resid is not stored"),
        ({"reads": ("proprio",)}, "llm.resid:proprio is not stored"),
        ({"offsets": {"x+": [0.3, 0, 0, 0, 0, 0, 0]}}, "must be zero"),
        ({"offsets": {"0": [0.0] * 7, "x+": [0.3, 0]}}, "7 numbers"),
        ({"offsets": offsets() | {"far": [0.9] * 7}}, "no fork has an end"),
    ],
)
def test_what_cannot_be_gathered_is_said_in_one_line(changed, says):
    with pytest.raises(UserError, match=says) as told:
        gather(EPISODES, **changed)
    assert "\n" not in str(told.value)


def test_episodes_that_are_no_branches_are_refused():
    plain = replace(EPISODES[0], key=replace(EPISODES[0].key, arm="none"))
    with pytest.raises(UserError, match="names no branch"):
        gather([plain])
