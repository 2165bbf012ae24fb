"""A suite of one's own is one file and its name: it runs wherever LIBERO's do."""

import dataclasses
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mist_jax.episodes.reader import read_episodes
from mist_jax.errors import UserError
from mist_jax.extensions import VARIABLE
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.episode_spec import EpisodeSpec, WorkerConfig
from mist_jax.rollout.worker import Worker
from mist_jax.simulator.contacts.monitor import ContactMonitor
from mist_jax.simulator.environment.environment import Environment
from mist_jax.simulator.libero.assets import Assets, check_assets_serve, find_assets
from mist_jax.simulator.libero.suite import Suite
from mist_jax.simulator.libero.suites import find_suite, load_task, suites
from tests.helpers.rollout_samples import run_here

ROOT = Path(__file__).parents[2]
EXAMPLES = Path(__file__).parent / "examples"
ASSETS = find_assets("auto", allow_download=False)
pytestmark = pytest.mark.libero


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """The example's files, made as its docstring says."""
    folder = tmp_path_factory.mktemp("near_bowl")
    command = [sys.executable, "-c", "import suite; suite.make_files()"]
    subprocess.run(command, cwd=EXAMPLES, env=environ(folder), check=True, timeout=300)
    return folder


def environ(files: Path, **more: str) -> dict[str, str]:
    path = os.pathsep.join([str(EXAMPLES), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "NEAR_BOWL_FILES": str(files), **more}


@pytest.fixture
def registered(files, monkeypatch):
    monkeypatch.setenv("NEAR_BOWL_FILES", str(files))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv(VARIABLE, "suite")


def test_the_suite_is_listed_after_liberos_with_its_own_caps_and_words(registered):
    assert tuple(suites())[-1] == "near_bowl"
    task = load_task("near_bowl", 0)
    assert (task.max_steps, task.settle_steps) == (150, 10)
    assert task.language == "bring the bowl near the arm onto the plate"


def test_the_expert_does_the_task_in_a_worker_from_the_suites_own_states(registered):
    worker = Worker(WorkerConfig(assets=ASSETS.kind, model="expert"))
    spec = EpisodeSpec(EpisodeKey("near_bowl", 0, 1, 0), "expert")
    episode = run_here(worker, spec)
    assert episode.outcome == "success"
    assert (episode.max_steps, episode.instruction) == (150, load_task("near_bowl", 0).language)
    bowl = episode.steps.object_pose[0, episode.object_names.index("akita_black_bowl_1"), :2]
    assert bowl[1] < 0.1  # in its own region; LIBERO's task 0 has it at 0.2
    assert not episode.harmful_onsets


def test_contacts_are_judged_by_the_goal_of_the_suites_bddl_file(registered):
    environment = Environment(load_task("near_bowl", 0), ASSETS, render="none")
    assert len(environment.initial_states) == 3
    monitor = ContactMonitor(environment)
    moved = {monitor.bodies.body_names[body] for body in monitor.intent.to_move}
    assert moved == {"akita_black_bowl_1_main"}
    environment.reset(0, seed=0)
    monitor.begin_episode()
    found = []
    for step in range(40):  # straight down: the table is a harmful contact in any suite
        monitor.begin_step()
        environment.step(np.array([0, 0, -1, 0, 0, 0, -1.0]))
        found += monitor.end_step(step)
    assert any(contact.harmful for contact in found)


GOAL = """
import numpy as np
from pathlib import Path
from mist_jax.simulator.libero.suite import Predicates, Suite, TaskFiles

HERE = Path(__file__).parent
FILES = (TaskFiles("near", "put the bowl near the plate", HERE / "near.bddl", HERE / "near.npy"),)

def prepare():
    from libero.libero.envs.predicates import VALIDATE_PREDICATE_FN_DICT as known
    assert "near" not in known  # once in a process
    known["near"] = lambda one, other: distance(one, other) < 1.0

def distance(one, other):
    return np.linalg.norm(one.get_geom_state()["pos"] - other.get_geom_state()["pos"])

SUITES = (
    Suite(
        "near", lambda: FILES, max_steps=9, settle_steps=2, asset_kinds=("libero", "lite"),
        predicates=Predicates(places=("on", "in", "near")), prepare=prepare,
    ),
)
"""


def test_a_goal_in_words_of_the_suites_own_is_checked_and_means_contacts(
    files, tmp_path, monkeypatch
):
    (tmp_path / "near_extension.py").write_text(GOAL)
    scene = (files / "near_bowl.bddl").read_text()
    goal = "(And (Near akita_black_bowl_1 plate_1))"
    (tmp_path / "near.bddl").write_text(
        scene.replace("(And (On akita_black_bowl_1 plate_1))", goal)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(VARIABLE, "near_extension")
    for _ in range(2):
        environment = Environment(load_task("near", 0), ASSETS, render="none")
        assert environment.success()  # within a metre, and not yet on the plate
        monitor = ContactMonitor(environment)
        moved = {monitor.bodies.body_names[body] for body in monitor.intent.to_move}
        assert moved == {"akita_black_bowl_1_main"}
    states = [environment.draw_initial_state(seed) for seed in (3, 4, 3)]
    np.testing.assert_array_equal(states[0], states[2])
    assert not np.array_equal(states[0], states[1])
    np.save(tmp_path / "near.npy", np.stack(states))
    environment.reset(1, seed=0)
    assert environment.robosuite_env.timestep == 2  # the suite's own settling


def test_states_of_another_scene_are_refused_with_one_line(registered, tmp_path):
    wrong = tmp_path / "wrong.npy"
    np.save(wrong, np.zeros((2, 5)))
    task = dataclasses.replace(load_task("near_bowl", 0), initial_states_file=wrong)
    environment = Environment(task, ASSETS, render="none")
    with pytest.raises(UserError, match="rows of 5 numbers"):
        environment.reset(0, seed=0)


def test_assets_that_a_suite_cannot_use_are_told_before_work_starts(tmp_path):
    lite = Assets("lite", tmp_path, "here")
    row = Suite("mine", tuple, max_steps=1, asset_kinds=("lite",), asset_files=("mug.xml",))
    with pytest.raises(UserError, match=r"--env=mine needs mug\.xml, which the lite assets"):
        check_assets_serve(row, lite)
    (tmp_path / "mug.xml").touch()
    check_assets_serve(row, lite)
    with pytest.raises(UserError, match="the lite assets hold libero_spatial, libero_object, "):
        check_assets_serve(find_suite("libero_10"), lite)
    with pytest.raises(UserError, match="use --assets=lite"):
        check_assets_serve(row, Assets("libero", tmp_path, "here"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import absent_module", "cannot be imported"),
        ("SUITES = ['front']", "must be a tuple of Suite rows"),
        (
            "from mist_jax.simulator.libero.suite import Suite\n"
            "SUITES = (Suite('libero_10', tuple, 5),)",
            "two suites are called 'libero_10'",
        ),
        (
            "from mist_jax.simulator.libero.suite import Suite\nSUITES = (Suite('a/b', tuple, 5),)",
            "may hold letters",
        ),
    ],
)
def test_an_extension_that_cannot_be_used_is_one_clear_line(tmp_path, monkeypatch, source, message):
    name = f"extension_{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(UserError, match=message):
        suites()


def collect(files: Path, out: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments.collect_failure_data", "--model_name=expert"]
    command += ["--phase1", "--n_episodes=1", f"--save_dir={out}", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environ(files), capture_output=True, text=True, timeout=400
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env=near_bowl"], "there is no suite 'near_bowl': valid ones are libero_spatial, "),
        (["--env=near_bowl", "--extensions=absent"], "extension 'absent' cannot be imported"),
        (["--env=near_bowl", "--extensions=suite", "--task_ids=1"], "no task 1"),
    ],
)
def test_a_mistaken_name_ends_with_one_line(tmp_path, arguments, message):
    done = collect(tmp_path, tmp_path / "out", *arguments)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert message in done.stderr


@pytest.mark.slow
def test_a_binary_collects_it_in_simulator_processes(files, tmp_path):
    done = collect(
        files, tmp_path / "out", "--extensions=suite", "--env=near_bowl", "--num_workers=1"
    )
    assert done.returncode == 0, done.stderr
    (episode,) = read_episodes(tmp_path / "out")
    assert (episode.key.suite, episode.outcome) == ("near_bowl", "success")
