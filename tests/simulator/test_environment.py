"""The simulator repeats itself bit for bit, and is stock LIBERO bit for bit."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.simulator.environment.environment import NO_OP, SUBSTEPS, Environment, SimulatorError
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.libero.libero_package import import_libero
from mist_jax.simulator.libero.suites import load_task

pytestmark = pytest.mark.libero

ASSETS = find_assets("auto", allow_download=False)
# The fourth one has the bowl in a drawer of the cabinet, whose pose the seed draws.
TASK = load_task("libero_spatial", 4)
CAMERA_RES = 64
LOOK_EVERY = 4


def random_actions(steps: int, seed: int) -> np.ndarray:
    actions = np.random.default_rng(seed).uniform(-1, 1, (steps, 7))
    # Downwards, so that contacts come into play.
    actions[:, 2] -= 0.5
    return actions.clip(-1, 1)


def state_of(environment: Environment) -> np.ndarray:
    data = environment.data
    return np.concatenate(
        [data.qpos, data.qvel, data.qacc_warmstart, data.ctrl, data.xpos.ravel(), [data.ncon]]
    )


def run(environment: Environment, actions: np.ndarray) -> list[np.ndarray]:
    """States after every step, and the observations (pixels too) of some."""
    records = []
    for step, action in enumerate(actions):
        environment.step(action)
        records.append(state_of(environment))
        if step % LOOK_EVERY == 0:
            records.extend(environment.observe().as_libero().values())
    return records


def assert_same(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def environment():
    environment = Environment(TASK, ASSETS, camera_res=CAMERA_RES)
    yield environment
    environment.close()


def test_same_reset_gives_same_episode_after_other_episodes(environment):
    actions = random_actions(8, seed=0)
    environment.reset(initial_state=3, seed=11)
    first = run(environment, actions)
    # Ends with the gripper half closed, which a soft reset of robosuite would carry over.
    environment.reset(initial_state=4, seed=12)
    for action in random_actions(5, seed=1):
        environment.step(action)
    environment.reset(initial_state=3, seed=11)
    assert_same(first, run(environment, actions))


def test_seed_moves_the_fixtures(environment):
    cabinet = environment.robosuite_env.obj_body_id["wooden_cabinet_1"]
    environment.reset(initial_state=0, seed=1, settle_steps=0)
    one = environment.model.body_pos[cabinet].copy()
    environment.reset(initial_state=0, seed=2, settle_steps=0)
    assert np.abs(one - environment.model.body_pos[cabinet]).max() > 1e-5


def test_reset_leaves_the_callers_random_numbers_alone(environment):
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.rand(3)  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    environment.reset(initial_state=0, seed=1, settle_steps=0)
    np.testing.assert_array_equal(np.random.rand(3), expected)  # noqa: NPY002


OTHER_PROCESS = """
import pickle, sys
sys.path.insert(0, {tests!r})
import test_environment as t
environment = t.Environment(t.TASK, t.ASSETS, camera_res=t.CAMERA_RES)
environment.reset(initial_state=3, seed=11)
sys.stdout.buffer.write(pickle.dumps(t.run(environment, t.random_actions(8, seed=0))))
environment.close()
"""


def test_same_episode_in_another_process_which_prints_nothing(environment, request):
    result = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS.format(tests=str(request.path.parent))],
        capture_output=True,
        check=True,
    )
    assert result.stderr == b""
    environment.reset(initial_state=3, seed=11)
    here = run(environment, random_actions(8, seed=0))
    # Only this test's own bytes are read, from the process it started.
    assert_same(here, pickle.loads(result.stdout))


# The stove's flame is a site that an episode switches on, which a soft reset would carry over.
@pytest.mark.parametrize(("suite", "task_id"), [("libero_spatial", 4), ("libero_goal", 7)])
def test_episode_is_that_of_stock_libero(suite, task_id):
    task = load_task(suite, task_id)
    try:
        environment = Environment(task, ASSETS, camera_res=CAMERA_RES)
    except UserError as error:
        if ASSETS.kind == "lite":
            pytest.skip(f"needs LIBERO's own assets: {error}")
        raise
    actions = random_actions(6, seed=2)
    environment.reset(initial_state=1, seed=3, settle_steps=0)
    switch_on_stove(environment.robosuite_env)
    environment.step(NO_OP)
    environment.reset(initial_state=2, seed=4)

    stock = import_libero(ASSETS.path).OffScreenRenderEnv(
        bddl_file_name=str(task.bddl_file), camera_heights=CAMERA_RES, camera_widths=CAMERA_RES
    )
    # LIBERO adds to this list in every hard reset and draws a random number for each entry, so
    # its own fixtures depend on the number of resets before.
    stock.env.object_property_initializers.clear()
    np.random.seed(4)  # noqa: NPY002
    stock.reset()
    stock.set_init_state(environment.initial_states[2])
    for _ in range(10):
        stock.step(NO_OP.tolist())
    for action in actions:
        expected, _, done, _ = stock.step(action.tolist())
        assert environment.step(action) == done
        for name in ("qpos", "qvel", "qacc_warmstart", "ctrl", "xpos", "site_xpos"):
            np.testing.assert_array_equal(
                getattr(environment.data, name), getattr(stock.sim.data, name), err_msg=name
            )
        for name, value in environment.observe().as_libero().items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)
    stock.env.sim._render_context_offscreen.gl_ctx.make_current()
    stock.close()
    environment.close()


def switch_on_stove(robosuite_env) -> None:
    for state in robosuite_env.object_states_dict.values():
        if getattr(state, "has_turnon_affordance", False):
            state.set_joint(1.5)


def test_restore_undoes_a_branch(environment):
    environment.reset(initial_state=5, seed=6)
    trunk, branch = random_actions(6, seed=3), random_actions(6, seed=4)
    run(environment, trunk)
    snapshot = environment.snapshot()
    before = [state_of(environment), *environment.observe().as_libero().values()]
    first = run(environment, branch)
    environment.restore(snapshot)
    assert_same(before, [state_of(environment), *environment.observe().as_libero().values()])
    assert_same(first, run(environment, branch))
    # Also from another episode, whose fixtures stand elsewhere.
    environment.reset(initial_state=7, seed=8)
    environment.restore(snapshot)
    assert_same(first, run(environment, branch))


def test_snapshot_right_after_reset_restores(environment):
    environment.reset(initial_state=5, seed=6, settle_steps=0)
    snapshot = pickle.loads(pickle.dumps(environment.snapshot()))
    actions = random_actions(3, seed=5)
    first = run(environment, actions)
    environment.restore(snapshot)
    assert_same(first, run(environment, actions))


def test_restore_brings_contacts_and_success_back(environment):
    environment.reset(initial_state=5, seed=6)
    contacts = environment.data.contact.dist.copy()
    force = environment.data.efc_force.copy()
    snapshot = environment.snapshot()
    run(environment, random_actions(4, seed=6))
    environment.restore(snapshot)
    np.testing.assert_array_equal(environment.data.contact.dist, contacts)
    np.testing.assert_array_equal(environment.data.efc_force, force)
    assert not environment.success()


def test_observers_run_in_every_substep(environment):
    environment.reset(initial_state=0, seed=0, settle_steps=0)
    times: list[float] = []
    observer = lambda: times.append(environment.data.time)  # noqa: E731
    environment.substep_observers.append(observer)
    try:
        environment.step(NO_OP)
    finally:
        environment.substep_observers.remove(observer)
    assert len(times) == SUBSTEPS
    np.testing.assert_allclose(np.diff(times), 0.002, atol=1e-9)


def test_instability_is_an_error_and_the_next_reset_is_clean(environment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment.reset(initial_state=0, seed=0)
    clean = state_of(environment)
    environment.data.qvel[:] = 1e12
    with pytest.raises(SimulatorError, match="unstable"):
        environment.step(NO_OP)
    environment.reset(initial_state=0, seed=0)
    np.testing.assert_array_equal(state_of(environment), clean)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("action", [np.zeros(6), np.full(7, np.nan)])
def test_bad_action_is_refused(environment, action):
    environment.reset(initial_state=0, seed=0, settle_steps=0)
    with pytest.raises(ValueError, match="7 finite numbers"):
        environment.step(action)


def test_unknown_initial_state_is_one_clear_line(environment):
    with pytest.raises(
        UserError, match="no initial state 50: valid ids are 0 to 49, or 1000 to 8999"
    ):
        environment.reset(initial_state=50, seed=0)


def test_environment_without_images_refuses_to_render():
    environment = Environment(TASK, ASSETS, render="none")
    environment.reset(initial_state=0, seed=0, settle_steps=0)
    assert not environment.observe(render=False).images
    with pytest.raises(ValueError, match="no images"):
        environment.observe()
