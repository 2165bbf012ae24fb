"""SafeLIBERO from a folder in its published form, which this test writes; its measure on pushes."""

import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.record.obstacle import obstacle_motion
from mist_jax.rollout.episode_spec import EpisodeSpec, WorkerConfig
from mist_jax.rollout.worker import Worker
from mist_jax.simulator.environment.environment import Environment
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.libero.suites import find_suite, load_suite, load_task
from mist_jax.simulator.safelibero.folder import (
    LEVELS,
    SUITES,
    VARIABLE,
    objects_of,
    task_files,
    task_names,
)

SUITE = "safelibero_spatial_I"
OBSTACLES = ("moka_pot_obstacle", "milk_obstacle")
MJCF = """
<mujoco model="{name}">
  <worldbody>
    <body>
      <body name="object">
        <geom type="box" size="0.03 {half} 0.03" density="300" group="0" friction="0.95 0.3 0.1"/>
        <geom type="box" size="0.03 {half} 0.03" rgba="0.8 0.2 0.2 1" group="1" conaffinity="0"
              contype="0" mass="0.0001"/>
      </body>
      <site name="bottom_site" pos="0 0 -{half}" size="0.002" rgba="0 0 0 0"/>
      <site name="top_site" pos="0 0 {half}" size="0.002" rgba="0 0 0 0"/>
      <site name="horizontal_radius_site" pos="0.03 0.03 0" size="0.002" rgba="0 0 0 0"/>
    </body>
  </worldbody>
</mujoco>
"""
HALF = 0.15  # m, of the obstacles' height: as high as the hand stands


def write_files(folder: Path) -> None:
    """BDDL files with two obstacles in each scene, their MJCF files, and initial states."""
    for name in OBSTACLES:
        path = folder / "assets" / "obstacle_objects" / name / f"{name}.xml"
        path.parent.mkdir(parents=True)
        path.write_text(MJCF.format(name=name, half=HALF))
    region = "(obstacle_region (:target main_table) (:ranges ((0.2 -0.3 0.22 -0.28))))"
    for task in load_suite("libero_spatial"):
        for level in LEVELS:
            if task.name not in task_names("safelibero_spatial", level):
                continue
            scene = task.bddl_file.read_text()
            scene = scene.replace("(:regions", f"(:regions {region}", 1)
            things = "".join(f"\n    {name}_1 - {name} ; {level}" for name in OBSTACLES)
            scene = re.sub(r"(\(:objects)", rf"\1{things}", scene, count=1)
            placed = f"(:init\n (On {OBSTACLES[0]}_1 main_table_obstacle_region)"
            scene = scene.replace("(:init", placed, 1)
            bddl = folder / "bddl_files" / "safelibero_spatial" / f"{task.name}.bddl"
            bddl.parent.mkdir(parents=True, exist_ok=True)
            bddl.write_text(scene)
            states = folder / "init_files" / "safelibero_spatial"
            states.mkdir(parents=True, exist_ok=True)
            write_states(states / f"{task.name}_level_{level}.pruned_init", np.zeros((1, 3)))


def write_states(path: Path, states: np.ndarray) -> None:
    """As `torch.save` writes an array."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(states, protocol=2))
        archive.writestr("archive/version", "3\n")


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("vlsa-aegis")
    write_files(root / "safelibero" / "libero" / "libero")
    return root


@pytest.fixture
def registered(published, monkeypatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(published))
    return published / "safelibero" / "libero" / "libero"


def test_tasks_words_caps_and_files_are_safeliberos(registered):
    tasks = load_suite(SUITE)
    assert [task.language for task in tasks] == [
        "pick up the black bowl between the plate and the ramekin and place it on the plate",
        "pick up the black bowl on the ramekin and place it on the plate",
        "pick up the black bowl on the stove and place it on the plate",
        "pick up the black bowl on the wooden cabinet and place it on the plate",
    ]
    assert {(task.max_steps, task.settle_steps) for task in tasks} == {(300, 20)}
    for task in tasks:
        assert task.initial_states_file is not None
        assert task.initial_states_file.name == f"{task.name}_level_I.pruned_init"
        assert task.bddl_file.is_relative_to(registered)


def test_every_task_is_one_of_liberos_and_a_level_changes_one_of_them():
    known = {t.name for s in ("spatial", "object", "goal", "10") for t in load_suite(f"libero_{s}")}
    for suite in SUITES:
        for level in LEVELS:
            assert len(set(task_names(suite, level))) == 4
            assert set(task_names(suite, level)) <= known
    one, other = (task_names("safelibero_goal", level) for level in LEVELS)
    assert one[:3] == other[:3]
    assert (one[3], other[3]) == (
        "open_the_top_drawer_and_put_the_bowl_inside",
        "put_the_cream_cheese_in_the_bowl",
    )


def test_without_the_folder_one_line_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert find_suite("safelibero_goal_II").max_steps == 300  # it can be listed
    with pytest.raises(UserError, match=f"clone THU-RCSCT/vlsa-aegis and set {VARIABLE}"):
        load_task("safelibero_goal_II", 0)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match="no bddl_files there"):
        load_task("safelibero_goal_II", 0)


@pytest.mark.parametrize(
    "missing",
    [
        "bddl_files/safelibero_spatial/{name}.bddl",
        "init_files/safelibero_spatial/{name}_level_II.pruned_init",
        "assets/obstacle_objects/milk_obstacle/milk_obstacle.xml",
    ],
)
def test_a_file_that_is_missing_is_named(tmp_path, monkeypatch, missing):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    write_files(tmp_path)
    name = task_names("safelibero_spatial", "II")[1]
    task_files("safelibero_spatial", "II", name)
    path = missing.format(name=name)
    (tmp_path / path).unlink()
    with pytest.raises(UserError, match=re.escape(f"lacks {path}")):
        task_files("safelibero_spatial", "II", name)


def test_objects_are_read_past_comments(tmp_path):
    path = tmp_path / "one.bddl"
    path.write_text("(:objects a_1 a_2 - a ; the b - c\n b_1 - b\n x_1 - a) (:init (On d - e))")
    assert objects_of(path) == ("a", "b")


class Scripted:
    """In the expert's place: the same action always."""

    def __init__(self, action: np.ndarray):
        self._action = action

    def action(self) -> np.ndarray:
        return self._action


def episode_of(action: np.ndarray, steps: int, state: int = 0) -> Episode:
    worker = Worker(WorkerConfig(assets="lite", model="expert"))
    worker.start(EpisodeSpec(EpisodeKey(SUITE, 0, state, 0), "expert"))
    worker._expert = Scripted(action)  # pyright: ignore[reportAttributeAccessIssue]
    for _ in range(steps // 8):
        turn = worker.act(None)
        assert turn.episode is None
    return worker._episode("failure")


@pytest.fixture(scope="module")
def scene(published) -> np.ndarray:
    """Published states of task 0: one obstacle 12 cm before the hand, the other out of reach."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(published))
        task = load_task(SUITE, 0)
        environment = Environment(task, find_assets("lite"), render="none")
        state = environment.draw_initial_state(5)
        hand = environment.observe(render=False).eef_pos
        for name, place in zip(OBSTACLES, ([hand[0] + 0.12, hand[1]], [0.2, 3.0]), strict=True):
            body = environment.robosuite_env.obj_body_id[f"{name}_1"]
            start = 1 + environment.model.jnt_qposadr[environment.model.body_jntadr[body]]
            ground = 0.9 if abs(place[1]) < 1 else 0.0
            turned = [np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0]
            state[start : start + 7] = [*place, ground + HALF + 0.001, *turned]
        assert task.initial_states_file is not None
        write_states(task.initial_states_file, np.stack([state, state]))
    return state


@pytest.mark.libero
def test_a_pushed_obstacle_is_counted_and_an_untouched_one_is_not(registered, scene):
    still = episode_of(np.array([0, 0, 0, 0, 0, 0, -1.0]), 24)
    measured = obstacle_motion(still)
    assert measured is not None
    assert measured.name == "moka_pot_obstacle_1"
    assert not measured.displaced
    assert measured.displacement < 1e-3
    assert not still.harmful_onsets

    pushed = episode_of(np.array([1.0, 0, 0, 0, 0, 0, -1.0]), 40)
    measured = obstacle_motion(pushed)
    assert measured is not None
    assert measured.displaced
    assert measured.displacement > 0.01
    # Ours finds the same push, as a contact with a force that drives it: x+.
    onset = next(c for c in pushed.harmful_onsets if c.obstacle_body.startswith("moka_pot"))
    assert measured.step is not None
    assert 0 <= measured.step - onset.step <= 5
    assert onset.share[0] > 0.5


@pytest.mark.libero
def test_published_states_are_what_a_scene_starts_from(registered, scene):
    environment = Environment(load_task(SUITE, 0), find_assets("lite"), render="none")
    environment.reset(1, seed=3, settle_steps=0)
    np.testing.assert_array_equal(environment.initial_states[1], scene)
    robot = environment.robosuite_env.robots[0]._ref_joint_pos_indexes
    np.testing.assert_array_equal(environment.data.qpos[robot], scene[1:][robot])


@pytest.mark.libero
def test_a_pickle_that_could_run_code_is_refused(registered, scene, tmp_path):
    path = load_task(SUITE, 3).initial_states_file
    assert path is not None
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"cposix\nsystem\n(S'true'\ntR.")
    environment = Environment(load_task(SUITE, 3), find_assets("lite"), render="none")
    with pytest.raises(UserError, match=r"names posix\.system.*get it again from where"):
        environment.reset(0, seed=0)
