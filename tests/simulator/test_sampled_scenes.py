"""Sampled scenes: the same everywhere, unlike each other, and drawn as the published ones were."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from mist_jax.errors import UserError
from mist_jax.simulator.environment.environment import Environment
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.libero.initial_states import load_initial_states
from mist_jax.simulator.libero.sampled_scenes import POOLS, SAMPLED, sampling_seed
from mist_jax.simulator.libero.suite import AssetKind
from mist_jax.simulator.libero.suites import load_task

ROOT = Path(__file__).parents[2]
# The second one has the bowl in a drawer of the cabinet, a joint beside the free bodies.
TASKS = [("libero_spatial", 0), ("libero_spatial", 4), ("libero_object", 2)]


def environment_of(suite: str, task_id: int, kind: AssetKind = "lite") -> Environment:
    assets = find_assets(kind, allow_download=False)
    return Environment(load_task(suite, task_id), assets, render="none")


def state_after_reset(environment: Environment, index: int) -> np.ndarray:
    environment.reset(index, seed=5)
    data = environment.data
    return np.concatenate([data.qpos, data.qvel, data.xpos.ravel()])


OTHER_PROCESS = """
import sys
import numpy as np
sys.path.insert(0, {tests!r})
import test_sampled_scenes as t
environment = t.environment_of("libero_spatial", 4)
sys.stdout.buffer.write(t.state_after_reset(environment, 5123).tobytes())
"""


@pytest.mark.libero
def test_an_index_is_one_scene_in_every_process_and_after_any_history():
    result = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS.format(tests=str(Path(__file__).parent))],
        capture_output=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"},
    )
    environment = environment_of("libero_spatial", 4)
    for index in (1000, 3, 5124):
        environment.reset(index, seed=1, settle_steps=1)
    first = state_after_reset(environment, 5123)
    np.testing.assert_array_equal(np.frombuffer(result.stdout), first)
    environment.reset(7, seed=2)
    np.testing.assert_array_equal(state_after_reset(environment, 5123), first)


@pytest.mark.libero
def test_an_index_is_one_scene_with_both_kinds_of_assets():
    try:
        libero = environment_of("libero_spatial", 4, "libero")
    except UserError as error:
        pytest.skip(f"needs LIBERO's own assets: {error}")
    lite = environment_of("libero_spatial", 4)
    for index in (8999, 1000):
        np.testing.assert_array_equal(
            state_after_reset(libero, index), state_after_reset(lite, index)
        )


@pytest.mark.libero
@pytest.mark.parametrize(("suite", "task_id"), TASKS)
def test_sampled_scenes_come_from_the_distribution_of_the_published_ones(suite, task_id):
    environment = environment_of(suite, task_id)
    published = environment.initial_states
    drawn = np.stack([environment.initial_state(index) for index in range(1000, 1080)])
    assert len(np.unique(drawn, axis=0)) == len(drawn)
    # Kolmogorov and Smirnov, with Bonferroni's correction, over time, qpos and qvel.
    columns = range(drawn.shape[1])
    values = [float(ks_2samp(drawn[:, i], published[:, i]).pvalue) for i in columns]  # pyright: ignore
    assert min(values) > 0.01 / len(values)
    # The arm's pose is drawn too, which LIBERO's own resets do not do.
    assert drawn[:, 1:8].std(axis=0).min() > 0.01


@pytest.mark.libero
def test_published_states_are_those_of_the_file_also_after_a_draw():
    environment = environment_of("libero_spatial", 4)
    expected = load_initial_states(environment.task)
    before = state_after_reset(environment, 49)
    environment.draw_initial_state(3)
    np.testing.assert_array_equal(environment.initial_state(49), expected[49])
    np.testing.assert_array_equal(state_after_reset(environment, 49), before)


@pytest.mark.libero
def test_indices_between_published_and_sampled_and_beyond_are_refused_with_one_line():
    environment = environment_of("libero_spatial", 0)
    for index in (-1, 50, 999, 9000):
        with pytest.raises(UserError, match=rf"no initial state {index}: valid.* 0 to 49, or 1000"):
            environment.reset(index, seed=0)


def test_pools_are_disjoint_and_leave_the_published_indices_alone():
    pools = [set(ids) for ids in POOLS.values()]
    assert sum(map(len, pools)) == len(set.union(*pools))
    assert set.union(*pools) == set(SAMPLED)
    assert min(SAMPLED) >= 1000


@pytest.mark.parametrize(("suite", "task_id"), TASKS)
def test_no_scene_of_a_task_is_another_one_again(suite, task_id):
    task = load_task(suite, task_id)
    seeds = [sampling_seed(task, index) for index in SAMPLED]
    assert len(set(seeds)) == len(seeds)
    other = dataclasses.replace(task, suite="libero_spatial_with_mugs")
    assert not set(seeds[:100]) & {sampling_seed(other, index) for index in SAMPLED[:100]}


def test_a_file_with_more_states_than_there_are_indices_is_refused(tmp_path):
    np.save(tmp_path / "many.npy", np.zeros((1001, 2)))
    task = load_task("libero_spatial", 0)
    task = dataclasses.replace(task, initial_states_file=tmp_path / "many.npy")
    with pytest.raises(UserError, match=r"holds 1001 initial states: keep 1000 at most"):
        load_initial_states(task)
