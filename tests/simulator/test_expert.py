"""The scripted expert solves tasks, forgets everything, and starts again after a mishap."""

import functools

import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.simulator.environment.environment import Environment
from mist_jax.simulator.expert.expert import Expert
from mist_jax.simulator.expert.obstacles import height_to_clear
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.libero.suites import load_task

needs_simulator = pytest.mark.libero


@functools.cache
def environment_of(suite: str, task_id: int) -> Environment:
    assets = find_assets("auto", allow_download=False)
    return Environment(load_task(suite, task_id), assets, render="none")


def solve(environment: Environment, expert: Expert) -> int | None:
    """Steps to success, None if the cap came first."""
    for step in range(environment.task.max_steps):
        action = expert.action()
        assert action.shape == (7,)
        assert action.dtype == np.float32
        assert np.abs(action).max() <= 1.0
        assert action[6] in (-1.0, 1.0)
        if environment.step(action):
            return step + 1
    return None


@needs_simulator
@pytest.mark.parametrize(
    ("suite", "task_id"), [("libero_spatial", 0), ("libero_spatial", 4), ("libero_object", 6)]
)
def test_expert_solves_a_task_well_within_the_cap(suite, task_id):
    environment = environment_of(suite, task_id)
    environment.reset(31, seed=7)
    steps = solve(environment, Expert(environment))
    assert steps is not None
    assert steps < 130


@needs_simulator
def test_action_is_a_function_of_the_state_and_leaves_it_alone():
    environment = environment_of("libero_spatial", 0)
    expert = Expert(environment)
    environment.reset(3, seed=0)
    snapshots, actions = [], []
    for _ in range(45):
        before = np.concatenate([environment.data.qpos, environment.data.qvel])
        warm_start = environment.data.qacc_warmstart.copy()
        actions.append(expert.action())
        after = np.concatenate([environment.data.qpos, environment.data.qvel])
        np.testing.assert_array_equal(before, after)
        np.testing.assert_array_equal(warm_start, environment.data.qacc_warmstart)
        snapshots.append(environment.snapshot())
        environment.step(actions[-1])
    # Backwards and by one that saw none of it: a memory would show.
    stranger = Expert(environment)
    for snapshot, action in reversed(list(zip(snapshots, actions, strict=True))):
        environment.restore(snapshot)
        np.testing.assert_array_equal(stranger.action(), action)
        np.testing.assert_array_equal(expert.action(), action)
    # The episode has a grasp in it, so that more than one phase was compared.
    assert {float(action[6]) for action in actions} == {-1.0, 1.0}


@needs_simulator
def test_expert_starts_again_from_where_a_bad_policy_left_the_robot():
    environment = environment_of("libero_spatial", 0)
    expert = Expert(environment)
    environment.reset(1, seed=0)
    bowl = environment.robosuite_env.obj_body_id["akita_black_bowl_1"]
    start = environment.data.xpos[bowl].copy()
    for _ in range(60):
        # As the expert does, until the bowl is well off the table; then let it fall.
        environment.step(expert.action())
        if environment.data.xpos[bowl][2] > start[2] + 0.04:
            break
    else:
        pytest.fail("the bowl never left the table")
    for _ in range(15):
        environment.step(np.array([0.6, -0.4, 0.3, 0.0, 0.2, 0.3, -1.0]))
    assert np.linalg.norm(environment.data.xpos[bowl] - start) > 0.005
    assert solve(environment, expert) is not None


@needs_simulator
def test_expert_refuses_a_goal_it_cannot_reach():
    environment = environment_of("libero_spatial", 0)
    goals = environment.parsed_problem["goal_state"]
    environment.parsed_problem["goal_state"] = [["open", "wooden_cabinet_1_top_region"]]
    try:
        with pytest.raises(UserError, match="libero_object"):
            Expert(environment)
    finally:
        environment.parsed_problem["goal_state"] = goals


def box(x: tuple, y: tuple, top: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array([[x[0], y[0], 0.0]]), np.array([[x[1], y[1], top]])


@pytest.mark.parametrize(
    ("obstacle", "expected"),
    [
        (box((0.4, 0.6), (-0.1, 0.1), 0.5), 0.5 - 0.35),
        (box((0.4, 0.6), (0.2, 0.3), 0.5), -np.inf),
        (box((-0.6, -0.4), (-0.1, 0.1), 0.5), -np.inf),
        (box((1.4, 1.6), (-0.1, 0.1), 0.5), -np.inf),
        (box((-0.1, 0.2), (-0.1, 0.1), 0.5), 0.5),
        (box((0.9, 1.1), (-0.1, 0.1), 0.5), -np.inf),
    ],
    ids=["ahead", "aside", "behind", "beyond", "underneath", "under the goal"],
)
def test_height_to_clear_counts_what_is_in_the_way(obstacle, expected):
    low, high = obstacle
    height = height_to_clear(low, high, np.zeros(2), np.array([1.0, 0.0]), width=0.05)
    assert height == pytest.approx(expected)
