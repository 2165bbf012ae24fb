"""Tasks, instructions and step caps are the benchmark's."""

import importlib.util
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mist_jax.errors import UserError
from mist_jax.ids import parse_ids
from mist_jax.simulator.libero.libero_package import package_folder
from mist_jax.simulator.libero.libero_suites import LIBERO_SUITES
from mist_jax.simulator.libero.suites import load_suite, load_task


@pytest.mark.parametrize(
    ("suite", "tasks", "max_steps"),
    [
        ("libero_spatial", 10, 220),
        ("libero_object", 10, 280),
        ("libero_goal", 10, 300),
        ("libero_10", 10, 520),
        ("libero_90", 90, 400),
    ],
)
def test_suite_has_its_tasks_and_cap(suite, tasks, max_steps):
    loaded = load_suite(suite)
    assert [task.task_id for task in loaded] == list(range(tasks))
    assert {task.max_steps for task in loaded} == {max_steps}
    for task in loaded:
        assert task.bddl_file.is_file()
        assert task.initial_states_file is not None
        assert task.initial_states_file.is_file()


@pytest.mark.parametrize("suite", [suite.name for suite in LIBERO_SUITES])
def test_names_and_instructions_are_those_of_liberos_benchmark(suite):
    pytest.importorskip("torch", reason="LIBERO's own benchmark module imports torch")
    path = package_folder() / "benchmark" / "__init__.py"
    source = path.read_text(encoding="utf-8")
    # The one function of the module that does not need its imports.
    match = re.search(r"def grab_language_from_filename.*?return language\[:en\]\n", source, re.S)
    assert match is not None
    namespace: dict = {}
    exec(match.group(), namespace)
    names = _libero_task_map()[suite]
    assert [task.name for task in load_suite(suite)] == names
    for task in load_suite(suite):
        assert task.language == namespace["grab_language_from_filename"](task.name + ".bddl")


def _libero_task_map() -> dict[str, list[str]]:
    path = package_folder() / "benchmark" / "libero_suite_task_map.py"
    spec = importlib.util.spec_from_file_location("libero_suite_task_map", path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    return module.libero_task_map


def test_unknown_suite_and_task_list_the_valid_ones():
    with pytest.raises(UserError, match=r"'libero_spacial': valid ones are libero_spatial, "):
        load_suite("libero_spacial")
    with pytest.raises(UserError, match="libero_goal has no task 10: valid ids are 0 to 9"):
        load_task("libero_goal", 10)
    with pytest.raises(UserError, match="no task -1"):
        load_task("libero_goal", -1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", range(10)), ("3", [3]), ("0-2,7", [0, 1, 2, 7]), (" 7, 1 - 2 ,1", [1, 2, 7])],
)
def test_ranges_name_the_ids_that_people_mean(text, expected):
    assert parse_ids(text, 10, "task") == tuple(expected)


@given(st.sets(st.integers(0, 49), min_size=1))
def test_every_set_of_ids_can_be_written_down(ids):
    assert parse_ids(",".join(map(str, ids)), 50, "task") == tuple(sorted(ids))


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "1,,2", "10", "0-10", "1.5", "²"])
def test_bad_ranges_are_one_clear_line(text):
    with pytest.raises(UserError) as caught:
        parse_ids(text, 10, "task")
    assert "\n" not in str(caught.value)
