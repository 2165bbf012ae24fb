"""Varied scenes in simulation: what is to differ differs, and nothing else."""

import functools

import numpy as np
import pytest

from mist_jax.record.episode import EpisodeKey
from mist_jax.record.observation import AGENT_CAMERA, WRIST_CAMERA
from mist_jax.rollout.episode_spec import EpisodeSpec, WorkerConfig
from mist_jax.rollout.worker import Worker
from mist_jax.simulator.environment.environment import NO_OP, Environment
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.libero.suites import load_task
from mist_jax.simulator.variation.layout import LAYOUTS
from mist_jax.simulator.variation.start_pose import RADII
from tests.helpers.rollout_samples import run_here

pytestmark = pytest.mark.libero

ACTIONS = np.random.default_rng(0).uniform(-1, 1, (12, 7))


@functools.lru_cache(maxsize=3)  # each takes 2.5 GiB of addresses
def environment_of(suite: str, task_id: int = 0, *, renders: bool = False) -> Environment:
    render = "fast" if renders else "none"
    task = load_task(suite, task_id)
    return Environment(task, find_assets("lite"), camera_res=96, render=render)


@pytest.fixture(scope="module", autouse=True)
def simulators_end_with_this_file():
    """A process with many of them cannot fork any more."""
    yield
    environment_of.cache_clear()


def trajectory(environment: Environment, state: int, seed: int = 0) -> np.ndarray:
    """MuJoCo's qpos and qvel after every action, float64 [steps, nq + nv]."""
    environment.reset(state, seed)
    rows = []
    for action in ACTIONS:
        environment.step(action)
        rows.append(np.r_[environment.data.qpos, environment.data.qvel])
    return np.stack(rows)


@pytest.mark.parametrize("state", [3, 1004])
def test_what_is_seen_and_said_never_touches_the_physics(state):
    varied = environment_of("libero_spatial_camera5_noise5_language3", renders=True)
    varied.reset(0, 9)
    varied.observe()
    plain = environment_of("libero_spatial", renders=True)
    np.testing.assert_array_equal(trajectory(varied, state), trajectory(plain, state))


def test_the_camera_is_where_the_scene_says_and_the_wrist_camera_stays():
    plain = environment_of("libero_spatial", renders=True)
    moved = environment_of("libero_spatial_camera3", renders=True)
    plain.reset(3, 0)
    usual, before = plain.model.camera(AGENT_CAMERA), plain.observe().images
    places = []
    for seed in (0, 1, 0):
        moved.reset(3, seed)
        camera = moved.model.camera(AGENT_CAMERA)
        places.append(np.r_[camera.pos, camera.quat])
        step = np.linalg.norm(camera.pos - usual.pos)
        assert 0.01 < step < 0.8, step
        images = moved.observe().images
        apart = np.abs(images[AGENT_CAMERA].astype(float) - before[AGENT_CAMERA]).mean()
        assert apart > 3.0
    np.testing.assert_array_equal(places[0], places[2])
    assert not np.array_equal(places[0], places[1])
    np.testing.assert_array_equal(images[WRIST_CAMERA], before[WRIST_CAMERA])


def test_noise_is_seen_by_the_agentview_alone_and_the_same_whenever_it_is_looked_at():
    plain, noisy = (
        environment_of(name, renders=True) for name in ("libero_spatial", "libero_spatial_noise3")
    )
    for environment in (plain, noisy):
        environment.reset(3, 0)
    before, once, again = plain.observe().images, noisy.observe().images, noisy.observe().images
    np.testing.assert_array_equal(once[AGENT_CAMERA], again[AGENT_CAMERA])
    noise = noisy.scene.noise
    assert noise is not None
    expected = noise(before[AGENT_CAMERA], noisy.robosuite_env.timestep)
    np.testing.assert_array_equal(once[AGENT_CAMERA], expected)
    np.testing.assert_array_equal(once[WRIST_CAMERA], before[WRIST_CAMERA])
    assert np.abs(once[AGENT_CAMERA].astype(float) - before[AGENT_CAMERA]).mean() > 1.0


def test_a_snapshot_brings_viewpoint_noise_and_words_back():
    environment = environment_of("libero_spatial_camera3_noise2_language2", renders=True)
    environment.reset(3, 0)
    kept, seen, words = environment.snapshot(), environment.observe(), environment.scene.instruction
    environment.reset(4, 1)
    assert environment.scene.instruction != words or environment.scene.viewpoint is not None
    environment.restore(kept)
    assert environment.scene == kept.scene
    again = environment.observe()
    np.testing.assert_array_equal(again.images[AGENT_CAMERA], seen.images[AGENT_CAMERA])


@pytest.mark.parametrize("level", [1, 5])
def test_the_arm_alone_starts_elsewhere_touches_nothing_and_stays(level):
    plain = environment_of("libero_spatial")
    moved = environment_of(f"libero_spatial_robot{level}")
    arm = list(plain.robosuite_env.robots[0]._ref_joint_pos_indexes)
    places = []
    for state in (3, 4, 1004, 3):
        for environment in (plain, moved):
            environment.reset(state, 0, settle_steps=0)
        offset = moved.data.qpos - plain.data.qpos
        assert np.linalg.norm(offset[arm]) == pytest.approx(RADII[level - 1])
        np.testing.assert_array_equal(np.delete(offset, arm), 0.0)
        root = moved.model.body_rootid[moved.model.geom_bodyid[moved.data.contact.geom]]
        assert not (root == moved.model.body("robot0_base").id).any()
        eef = moved.observe(render=False).eef_pos
        for _ in range(10):
            moved.step(NO_OP)
        assert np.linalg.norm(moved.observe(render=False).eef_pos - eef) < 0.02
        places.append(offset[arm])
    np.testing.assert_array_equal(places[0], places[3])
    assert not np.allclose(places[0], places[1])


def places_of(environment: Environment) -> dict[str, np.ndarray]:
    bodies = environment.robosuite_env.obj_body_id
    return {
        name: environment.data.xpos[bodies[name]].copy()
        for name in environment.robosuite_env.objects_dict
    }


@pytest.mark.parametrize(
    ("suite", "task_id"), [("libero_spatial", 0), ("libero_spatial", 8), ("libero_object", 2)]
)
def test_displaced_objects_stand_apart_and_still(suite, task_id):
    environment = environment_of(f"{suite}_layout2", task_id)
    seen = []
    for state in range(1000, 1006):
        environment.reset(state, 0, settle_steps=0)
        before = places_of(environment)
        for _ in range(10):
            environment.step(NO_OP)
        contact = environment.data.contact
        assert contact.dist[: environment.data.ncon].min() > -1e-3
        for name, place in places_of(environment).items():
            assert np.abs(place - before[name])[:2].max() < 5e-3, (state, name)
        seen.append(np.concatenate([before[name][:2] for name in sorted(before)]))
    assert len(np.unique(np.round(seen, 4), axis=0)) == len(seen)


def test_objects_are_displaced_further_than_in_the_plain_suite_and_no_further_than_told():
    spread = {}
    for level in (0, 1, 2):
        name = "libero_object" + f"_layout{level}" * bool(level)
        environment = environment_of(name, 2)
        found = []
        for state in range(1000, 1025):
            environment.initial_state(state)
            found.append([place[:2] for place in places_of(environment).values()])
        spread[level] = np.ptp(np.asarray(found), axis=0).max(axis=-1)
    plain = spread[0]
    assert spread[1].mean() > plain.mean() + 0.01
    assert spread[2].mean() > spread[1].mean() + 0.01
    for level in (1, 2):
        # The plain spread itself was only sampled.
        assert (spread[level] - plain).max() < 2 * LAYOUTS[level - 1].reach + 0.05


def test_a_confounding_object_more_stands_in_the_last_layout():
    environment = environment_of("libero_object_layout3", 2)
    environment.reset(1001, 0)
    near = [
        name
        for name, place in places_of(environment).items()
        if name.startswith("obstacle_") and abs(place[0]) < 0.5
    ]
    assert len(near) == 1


def test_an_episode_keeps_its_variation_and_words_and_all_arms_meet_the_same():
    worker = Worker(WorkerConfig(assets="lite", model="expert"))
    name, episodes = "libero_spatial_robot1_language2", []
    for arm in ("none", "mist"):
        key = EpisodeKey(name, 1, 1004, 3, arm)
        episodes.append(run_here(worker, EpisodeSpec(key, "expert")))
    one, other = episodes
    assert one.variation == other.variation == "robot1 (0.1 rad); language2 (other words)"
    assert one.instruction == other.instruction
    assert one.instruction != load_task(name, 1).language
    np.testing.assert_array_equal(one.steps.joint_pos, other.steps.joint_pos)
    environment = environment_of(name, 1)
    environment.reset(1004, 3)  # from the key alone
    joints = environment.observe(render=False).joint_pos
    np.testing.assert_array_equal(joints.astype(np.float32), one.steps.joint_pos[0])
    assert environment.scene.instruction == one.instruction
