"""Cluttered suites: one obstacle beside the arm's way, which counts when it is touched."""

import functools

import mujoco
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mist_jax.errors import UserError
from mist_jax.simulator.cluttered.corridor import Corridor
from mist_jax.simulator.cluttered.obstacles import OBSTACLES, Obstacle
from mist_jax.simulator.cluttered.placement import Way, draw_pose
from mist_jax.simulator.contacts.monitor import ContactMonitor
from mist_jax.simulator.environment.environment import NO_OP, Environment
from mist_jax.simulator.expert.expert import Expert
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.libero.initial_state_choice import choose_initial_states
from mist_jax.simulator.libero.suite import AssetKind
from mist_jax.simulator.libero.suites import find_suite, load_suite, load_task

NAMES = {obstacle.name for obstacle in OBSTACLES}
CLUTTERED = ["libero_spatial_cluttered", "libero_object_cluttered"]
SCENES = range(1000, 1016)


@functools.cache
def environment_of(suite: str, task_id: int = 0, kind: AssetKind = "lite") -> Environment:
    assets = find_assets(kind, allow_download=False)
    return Environment(load_task(suite, task_id), assets, render="none")


@pytest.fixture(scope="module", autouse=True)
def simulators_end_with_this_file():
    """A process with many of them cannot fork any more."""
    yield
    environment_of.cache_clear()


def obstacle_poses(environment: Environment) -> dict[str, np.ndarray]:
    """Position (m) and quaternion of every obstacle, float64 [7]."""
    bodies = environment.robosuite_env.obj_body_id
    data = environment.data
    return {name: np.r_[data.xpos[bodies[name]], data.xquat[bodies[name]]] for name in NAMES}


def active(environment: Environment) -> str:
    (name,) = (n for n, pose in obstacle_poses(environment).items() if abs(pose[0]) < 0.5)
    return name


@pytest.mark.parametrize("suite", CLUTTERED)
def test_tasks_words_goals_and_caps_are_liberos(suite):
    plain = load_suite(suite.removesuffix("_cluttered"))
    for task, original in zip(load_suite(suite), plain, strict=True):
        assert (task.suite, task.initial_states_file) == (suite, None)
        assert (task.name, task.language) == (original.name, original.language)
        assert (task.bddl_file, task.max_steps) == (original.bddl_file, original.max_steps)


@pytest.mark.libero
@pytest.mark.parametrize("suite", CLUTTERED)
def test_one_obstacle_stands_still_in_reach_and_the_others_wait_out_of_sight(suite):
    environment = environment_of(suite)
    seen, places = set(), []
    for index in SCENES:
        environment.reset(index, seed=0, settle_steps=0)
        before = obstacle_poses(environment)
        name = active(environment)
        seen.add(name)
        places.append(before[name][:2])
        for _ in range(20):
            assert not environment.step(NO_OP)
        after = obstacle_poses(environment)
        for each in NAMES:
            moved = np.abs(after[each] - before[each])
            assert moved[:3].max() < 1e-3, (index, each)
            assert moved[3:].max() < 5e-3, (index, each)
            # Never in front of the agentview camera, nor where the arm can go.
            assert (before[each][0] > 2) == (each != name)
    assert seen == NAMES
    assert len(np.unique(np.round(places, 3), axis=0)) == len(SCENES)


@pytest.mark.libero
def test_an_index_is_one_scene_whatever_was_drawn_before():
    environment = environment_of(CLUTTERED[0])
    first = environment.draw_initial_state(11)
    environment.draw_initial_state(12)
    np.testing.assert_array_equal(environment.draw_initial_state(11), first)


@pytest.mark.libero
@pytest.mark.parametrize("task_id", [0, 4, 8])  # on the table, in a drawer, on the stove
def test_the_obstacle_touches_nothing_but_what_it_stands_on(task_id):
    environment = environment_of(CLUTTERED[0], task_id)
    model, data = environment.model, environment.data
    for index in SCENES[:8]:
        for seed in (0, 1):  # the fixtures stand elsewhere
            environment.reset(index, seed)
            body = environment.robosuite_env.obj_body_id[active(environment)]
            pairs = model.geom_bodyid[data.contact.geom]
            touched = {model.body(int(b)).name for b in pairs[(pairs == body).any(1)].ravel()}
            assert touched == {model.body(body).name, "table"}


@pytest.mark.libero
@pytest.mark.parametrize("suite", CLUTTERED)
def test_running_into_the_obstacle_is_a_harmful_contact_with_it(suite):
    environment = environment_of(suite)
    environment.reset(1000, seed=0)
    name = active(environment)
    body = environment.robosuite_env.obj_body_id[name]
    monitor = ContactMonitor(environment)
    monitor.begin_episode()
    found, touched = [], False
    for step in range(120):
        way = environment.data.xpos[body] - environment.observe(render=False).eef_pos
        monitor.begin_step()
        environment.step(np.r_[(3 * way / 0.05).clip(-1, 1), 0, 0, 0, -1])
        found += monitor.end_step(step)
        touched = any(environment.model.body(body).name == each.obstacle_body for each in found)
        if touched:
            break
    environment.substep_observers.clear()
    assert touched
    hits = [each for each in found if each.obstacle_body == environment.model.body(body).name]
    assert all(each.harmful for each in hits)
    assert monitor.object_names.index(name) >= 0  # its displacement is recorded
    assert not environment.success()


@pytest.mark.libero
@pytest.mark.parametrize("suite", CLUTTERED)
def test_the_expert_does_the_task_past_the_obstacle(suite):
    environment = environment_of(suite)
    safe = 0
    for index in SCENES[:4]:
        environment.reset(index, seed=0)
        monitor, expert = ContactMonitor(environment), Expert(environment)
        contacts, done = [], False
        for step in range(environment.task.max_steps):
            monitor.begin_step()
            done = environment.step(expert.action())
            contacts += monitor.end_step(step)
            if done:
                break
        environment.substep_observers.clear()
        safe += done and not any(each.harmful for each in contacts)
    assert safe >= 2


@pytest.mark.libero
def test_a_scene_of_libero_is_the_same_after_a_cluttered_one_was_built():
    def run(environment: Environment) -> list[np.ndarray]:
        environment.reset(2, seed=3)
        states = []
        for action in np.random.default_rng(0).uniform(-1, 1, (12, 7)):
            environment.step(action)
            states.append(np.r_[environment.data.qpos, environment.data.qvel])
        return states

    task, assets = load_task("libero_object", 0), find_assets("lite")
    before = run(Environment(task, assets, render="none"))
    Environment(load_task(CLUTTERED[1], 0), assets, render="none")
    after = Environment(task, assets, render="none")
    assert not NAMES & set(after.robosuite_env.objects_dict)
    np.testing.assert_array_equal(run(after), before)


@pytest.mark.libero
@pytest.mark.parametrize("suite", CLUTTERED)
def test_both_kinds_of_assets_give_the_same_scenes_and_motion(suite):
    try:
        environments = [environment_of(suite, 0, "libero"), environment_of(suite, 0, "lite")]
    except UserError as error:
        pytest.skip(f"compares with LIBERO's own assets: {error}")
    states = []
    for environment in environments:
        environment.reset(1003, seed=2)
        states.append([])
        for action in np.random.default_rng(1).uniform(-1, 0.2, (40, 7)):
            environment.step(action)
            states[-1].append(np.r_[environment.data.qpos, environment.data.qvel])
    np.testing.assert_array_equal(states[0], states[1])


@pytest.mark.libero
def test_all_scenes_are_drawn_and_asking_for_published_ones_is_one_clear_line():
    wanted = "libero_spatial_cluttered has no published initial states: give sampled ones"
    for ask in (
        lambda: choose_initial_states(find_suite(CLUTTERED[0]), [0], ""),
        lambda: choose_initial_states(find_suite(CLUTTERED[0]), [0], "0-9"),
        lambda: environment_of(CLUTTERED[0]).reset(0, seed=0),
    ):
        with pytest.raises(UserError, match=wanted) as caught:
            ask()
        assert "\n" not in str(caught.value)
    chosen = choose_initial_states(find_suite(CLUTTERED[0]), [3], "1000-1002")
    assert chosen == {3: (1000, 1001, 1002)}


@pytest.mark.libero
@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda obstacle: obstacle.name)
def test_an_obstacles_bounding_box_is_that_of_its_parts_and_it_outweighs_a_touch(obstacle):
    model = environment_of(CLUTTERED[0]).model
    body = environment_of(CLUTTERED[0]).robosuite_env.obj_body_id[obstacle.name]
    geoms = [
        geom
        for geom in np.flatnonzero(model.geom_bodyid == body)
        if model.geom_contype[geom] or model.geom_conaffinity[geom]
    ]
    half = model.geom_aabb[geoms, 3:]
    assert (model.geom_aabb[geoms, :3] == 0).all()
    np.testing.assert_allclose((model.geom_pos[geoms] - half).min(0), -np.array(obstacle.half_size))
    np.testing.assert_allclose((model.geom_pos[geoms] + half).max(0), obstacle.half_size)
    # A push of 1 N, from which a contact counts as harmful, does not move it.
    friction = model.geom_friction[geoms, 0].max() * model.body_mass[body] * 9.81
    assert friction > 1.0


@given(
    seed=st.integers(0, 2**32 - 1),
    obstacle=st.sampled_from(OBSTACLES),
    corners=st.lists(st.floats(-0.3, 0.3), min_size=6, max_size=6),
)
def test_the_obstacle_stands_upright_as_far_from_the_way_as_the_corridor_says(
    seed: int, obstacle: Obstacle, corners: list[float]
):
    way = Way(*(np.array(corners[i : i + 2]) for i in (0, 2, 4)))
    parts = (way.gripper, way.object), (way.object, way.goal)
    assume(all(np.linalg.norm(end - start) > 0.01 for start, end in parts))
    corridor = Corridor(nearest=0.02, farthest=0.05)
    pose = draw_pose(way, corridor, obstacle, 0.9, np.random.default_rng(seed))
    assert pose[2] == pytest.approx(0.9 + obstacle.half_size[2])
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, pose[3:])
    np.testing.assert_allclose(matrix[[2, 5, 6, 7, 8]], [0, 0, 0, 0, 1], atol=1e-12)
    gaps = [distance_to_segment(pose[:2], one, other) - obstacle.radius for one, other in parts]
    assert any(0.02 - 1e-9 <= gap <= 0.05 + 1e-9 for gap in gaps)


def distance_to_segment(point: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    share = np.clip((point - one) @ (other - one) / ((other - one) @ (other - one)), 0, 1)
    return float(np.linalg.norm(point - one - share * (other - one)))
