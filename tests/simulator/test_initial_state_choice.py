"""`--initial_states`: what ids, ranges and names of pools mean for each task."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mist_jax.errors import UserError
from mist_jax.simulator.libero.initial_state_choice import choose_initial_states
from mist_jax.simulator.libero.sampled_scenes import POOLS, Pool, sampling_seed
from mist_jax.simulator.libero.scene_table import SceneTable
from mist_jax.simulator.libero.suites import find_suite, suites

SUITE = find_suite("libero_spatial")
STORED = {
    "suite": "libero_spatial",
    "tuning": {"0": "1000-1002,1007", "3": "1001,1004-1006"},
    "sealed": {"3": "5000,6999"},
    "study": {"0": "7000-7003", "3": "8999"},
}


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "scenes.json"
    path.write_text(json.dumps(STORED))
    return dataclasses.replace(SUITE, scenes=path)


@pytest.mark.parametrize(
    ("text", "task_0", "task_3"),
    [
        ("", tuple(range(50)), tuple(range(50))),
        ("3,0-1", (0, 1, 3), (0, 1, 3)),
        ("1003-1004", (1003, 1004), (1003, 1004)),
        ("tuning", (1000, 1001, 1002, 1007), (1001, 1004, 1005, 1006)),
        ("tuning:2", (1000, 1001), (1001, 1004)),
        (" tuning:1, 49,1000", (49, 1000), (49, 1000, 1001)),
        ("study:1", (7000,), (8999,)),
    ],
)
def test_each_task_gets_its_own_states(suite, text, task_0, task_3):
    assert choose_initial_states(suite, (0, 3), text) == {0: task_0, 3: task_3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("50", "there is no initial state 50: valid ids are 0 to 49, or 1000 to 8999"),
        ("0-9,60-70", "there is no initial state 60"),
        ("998-1003", "there is no initial state 998"),
        ("9000", "there is no initial state 9000"),
        ("tunning", "'tunning' is neither an id nor a range"),
        ("tuning,", "neither an id nor a range"),
        ("tuning:0", "write tuning, or tuning:20"),
        ("tuning:", "write tuning, or tuning:20"),
        ("sealed:all", "write sealed, or sealed:20"),
        ("tuning:5", "task 0 has 4 accepted scenes; sample more .*--pool=tuning"),
        ("study:2", "task 3 has 1 accepted scenes; sample more .*--pool=study"),
        ("sealed", "task 0 has 0 accepted scenes; sample more .*--pool=sealed"),
    ],
)
def test_what_is_not_there_is_refused_with_one_line(suite, text, message):
    with pytest.raises(UserError, match=message) as caught:
        choose_initial_states(suite, (0, 3), text)
    assert "\n" not in str(caught.value)


def test_a_suite_without_a_table_or_with_that_of_another_says_so(suite):
    with pytest.raises(UserError, match=r"names no table .*sample_scenes --env=libero_10"):
        choose_initial_states(find_suite("libero_10"), (0,), "tuning")
    other = dataclasses.replace(suite, name="libero_spatial_2")
    with pytest.raises(UserError, match="holds scenes of libero_spatial, not of libero_spatial_2"):
        choose_initial_states(other, (0,), "tuning")


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        "[]",
        "{}",
        json.dumps({**STORED, "sealed": []}),
        json.dumps({**STORED, "tuning": {"0": "5000"}}),  # a sealed scene for tuning
        json.dumps({**STORED, "sealed": {"0": "7000"}}),  # one of the study
        json.dumps({**STORED, "tuning": {"zero": "1000"}}),
        json.dumps({**STORED, "tuning": {"0": [1000]}}),
        None,
    ],
)
def test_a_damaged_table_is_one_clear_line(suite, content):
    assert suite.scenes is not None
    if content is None:
        suite.scenes.unlink()
    else:
        suite.scenes.write_text(content)
    with pytest.raises(UserError, match=r"make it again with experiments\.sample_scenes") as caught:
        choose_initial_states(suite, (0,), "tuning")
    assert str(suite.scenes) in str(caught.value)
    assert "\n" not in str(caught.value)


def ids_of(pool: Pool):
    some = st.sets(st.integers(POOLS[pool][0], POOLS[pool][-1]), min_size=1, max_size=9)
    return st.dictionaries(st.integers(0, 9), some.map(lambda ids: tuple(sorted(ids))), max_size=3)


@given(ids_of("tuning"), ids_of("sealed"), ids_of("tuning"), ids_of("study"))
def test_a_table_is_read_as_it_was_written_and_joining_keeps_the_rest(
    tmp_path_factory, tuning, sealed, more, study
):
    path: Path = tmp_path_factory.mktemp("table") / "scenes.json"
    table = SceneTable("mine", {"tuning": tuning, "sealed": sealed, "study": study})
    table.write(path)
    assert SceneTable.read(path) == table
    joined = SceneTable.read(path).joined("tuning", more)
    assert joined.pools == {"tuning": {**tuning, **more}, "sealed": sealed, "study": study}
    assert table.pools["tuning"] == tuning


def test_a_table_from_before_a_pool_has_nothing_in_it_and_keeps_the_rest(suite):
    older = {name: value for name, value in STORED.items() if name != "study"}
    suite.scenes.write_text(json.dumps(older))
    assert choose_initial_states(suite, (3,), "sealed") == {3: (5000, 6999)}
    with pytest.raises(UserError, match=r"task 3 has 0 accepted scenes; .*--pool=study"):
        choose_initial_states(suite, (3,), "study")
    SceneTable.read(suite.scenes).joined("study", {3: (8999,)}).write(suite.scenes)
    assert choose_initial_states(suite, (3,), "study,sealed") == {3: (5000, 6999, 8999)}


SHIPPED = [name for name, row in suites().items() if row.scenes and row.scenes.is_file()]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_tables_hold_forty_scenes_of_every_task_and_pool_and_none_twice(name):
    suite = find_suite(name)
    every = range(len(suite.tasks))
    assert suite.scenes is not None
    made: list[Pool] = [
        pool for pool, accepted in SceneTable.read(suite.scenes).pools.items() if accepted
    ]
    assert {"tuning", "sealed"} <= set(made)
    pools: dict[Pool, dict[int, tuple[int, ...]]] = {
        pool: choose_initial_states(suite, every, pool) for pool in made
    }
    for task_id in every:
        for pool, chosen in pools.items():
            assert len(chosen[task_id]) >= 40
            assert set(chosen[task_id]) <= set(POOLS[pool])
        ids = [index for chosen in pools.values() for index in chosen[task_id]]
        # Two indices may share a seed of 32 bits by chance; two shipped scenes may not.
        assert len({sampling_seed(suite.tasks[task_id], index) for index in ids}) == len(ids)
