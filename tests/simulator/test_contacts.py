"""The contact monitor on constructed scenes with known answers, with the real Panda in LIBERO."""

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import mujoco
import numpy as np
import pytest

from mist_jax.record.contact import Contact
from mist_jax.simulator.contacts.forces import normal_forces
from mist_jax.simulator.contacts.monitor import MAX_GAP_STEPS, ContactMonitor
from mist_jax.simulator.environment.environment import NO_OP, SUBSTEPS, Environment
from mist_jax.simulator.expert.expert import Expert
from mist_jax.simulator.expert.obstacles import CollisionBoxes
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.libero.suites import load_task

pytestmark = pytest.mark.libero

TASK = load_task("libero_spatial", 0)
BOWL, OTHER_BOWL, PLATE = "akita_black_bowl_1", "akita_black_bowl_2", "plate_1"
DIMENSIONS = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
X, Z, YAW, GRIPPER = 0, 2, 5, 6


@pytest.fixture(scope="module")
def shared() -> Environment:
    return Environment(TASK, find_assets("auto", allow_download=False), render="none")


@pytest.fixture
def environment(shared):
    """A freshly reset scene, its model as it was built."""
    body_pos, cone = shared.model.body_pos.copy(), shared.model.opt.cone
    problem = dict(shared.parsed_problem)
    shared.reset(0, seed=0)
    yield shared
    shared.substep_observers.clear()
    shared.model.body_pos[:], shared.model.opt.cone = body_pos, cone
    shared.parsed_problem = problem


def action(**parts: float) -> np.ndarray:
    """A no-op but for some dimensions."""
    result = NO_OP.copy()
    for name, value in parts.items():
        result[DIMENSIONS.index(name)] = value
    return result


def run(
    environment: Environment, monitor: ContactMonitor, actions: Iterable[np.ndarray]
) -> list[Contact]:
    contacts = []
    for step, each in enumerate(actions):
        contacts += run_step(environment, monitor, each, step)
    return contacts


def run_until_harm(environment, monitor, each, limit: int = 80) -> Contact:
    """The strongest of the contacts at the first harmful step."""
    for step in range(limit):
        harmful = [c for c in run_step(environment, monitor, each, step) if c.harmful]
        if harmful:
            return max(harmful, key=lambda c: c.peak_force)
    raise AssertionError("nothing was hit")


def run_step(
    environment: Environment,
    monitor: ContactMonitor,
    each: np.ndarray | Callable[[], np.ndarray],
    step: int,
) -> tuple[Contact, ...]:
    monitor.begin_step()
    environment.step(each() if callable(each) else each)
    return monitor.end_step(step)


def bounds(environment: Environment, root: str, *, below: str = "") -> np.ndarray:
    """World box [2, 3] of the collision geoms under a body, m."""
    model = environment.model
    solid = (model.geom_contype | model.geom_conaffinity) > 0
    if below:
        members = {model.body(below).id}
        for body in range(model.nbody):
            if model.body_parentid[body] in members:
                members.add(body)
        mine = np.isin(model.geom_bodyid, list(members))
    else:
        mine = model.body_rootid[model.geom_bodyid] == model.body(root).id
    low, high = CollisionBoxes(model, np.flatnonzero(solid & mine)).bounds(environment.data)
    return np.array([low.min(axis=0), high.max(axis=0)])


def move_cabinet(environment: Environment, *, low_x: float, centre: np.ndarray) -> None:
    """Puts the cabinet's front wall at `low_x`, its middle at `centre` [y, z] (m)."""
    box = bounds(environment, "wooden_cabinet_1_main")
    shift = [low_x - box[0, 0], *(centre - box[:, 1:].mean(axis=0))]
    environment.model.body_pos[environment.model.body("wooden_cabinet_1_main").id] += shift
    mujoco.mj_forward(environment.model, environment.data)


def gripper_bounds(environment: Environment) -> np.ndarray:
    return bounds(environment, "robot0_base", below="gripper0_right_gripper")


def hold_bowl(environment: Environment, monitor: ContactMonitor, lift_steps: int) -> Expert:
    expert = Expert(environment)
    for step in range(80):
        run_step(environment, monitor, expert.action, step)
        if monitor.grasped >= 0:
            break
    run(environment, monitor, [action(z=0.6, gripper=1.0)] * lift_steps)
    return expert


def test_a_scene_at_rest_has_no_contacts_to_report(environment):
    monitor = ContactMonitor(environment)
    assert environment.data.ncon > 50
    assert run(environment, monitor, [NO_OP] * 10) == []
    assert monitor.grasped == -1
    assert monitor.displacement().dtype == np.float32
    assert monitor.displacement().max() < 1e-3


def test_push_along_x_into_a_wall_is_x(environment):
    monitor = ContactMonitor(environment)
    hand = gripper_bounds(environment)
    # The wall ends below the wrist, which reaches further forward.
    height = np.ptp(bounds(environment, "wooden_cabinet_1_main")[:, 2])
    centre = np.array([hand[:, 1].mean(), hand[1, 2] - 0.02 - height / 2])
    move_cabinet(environment, low_x=hand[1, 0] + 0.03, centre=centre)
    contact = run_until_harm(environment, monitor, action(x=0.8))
    assert contact.obstacle_body.startswith("wooden_cabinet_1")
    assert contact.robot_body.startswith("gripper0")
    assert contact.onset
    assert not contact.grasped
    # The seed turns the cabinet by a few degrees.
    assert contact.normal[X] < -0.99
    assert contact.share[X] > 0.9
    assert contact.velocity[X] > 0.02
    assert contact.motion[X] > 0.02, "moved along +x"
    assert abs(contact.residual) < 0.01 * contact.velocity[X]
    assert contact.peak_force > 5
    assert hand[1, 0] < contact.position[0] < hand[1, 0] + 0.04


def test_an_arm_link_pushed_into_a_wall_is_x(environment):
    monitor = ContactMonitor(environment)
    hand = gripper_bounds(environment)
    move_cabinet(environment, low_x=hand[1, 0] + 0.03, centre=hand[:, 1:].mean(axis=0))
    contact = run_until_harm(environment, monitor, action(x=0.8))
    assert contact.robot_body == "robot0_link6"
    assert contact.share[X] > 0.9
    # The seventh joint, the redundancy of the arm, is all that the six components leave over.
    assert abs(contact.residual) < 0.1 * contact.velocity[X]


def test_descend_onto_the_table_is_z(environment):
    monitor = ContactMonitor(environment)
    # Between the robot and the objects.
    run(environment, monitor, [action(x=-0.5, y=0.45)] * 25)
    contact = run_until_harm(environment, monitor, action(z=-0.8))
    assert contact.obstacle_body == "table"
    assert contact.robot_body in {
        "gripper0_leftfinger",
        "gripper0_rightfinger",
        "gripper0_finger_joint1_tip",
        "gripper0_finger_joint2_tip",
    }
    np.testing.assert_allclose(contact.normal, [0, 0, 1], atol=1e-3)
    assert contact.share[Z] > 0.9
    assert contact.velocity[Z] > 0.02
    assert contact.motion[Z] < -0.02, "moved along -z"


def test_rotate_a_held_object_into_a_neighbour_is_yaw(environment):
    monitor = ContactMonitor(environment)
    hold_bowl(environment, monitor, lift_steps=12)
    run(environment, monitor, [action(gripper=1.0)] * 10)
    assert monitor.object_names[monitor.grasped] == BOWL
    # The bowl hangs by its rim: turning swings its centre sideways.
    grip = environment.data.site("gripper0_grip_site").xpos
    bowl = environment.data.body(f"{BOWL}_main").xpos
    arm = bowl - grip
    assert np.linalg.norm(arm[:2]) > 0.03
    assert abs(arm[1]) > abs(arm[0])
    box = bounds(environment, f"{BOWL}_main")
    centre = np.array([bowl[1], bowl[2] - 0.08])
    move_cabinet(environment, low_x=box[1, 0] + 0.004, centre=centre)
    turn = -np.sign(arm[1])
    contact = run_until_harm(environment, monitor, action(yaw=0.5 * turn, gripper=1.0))
    assert contact.grasped
    assert contact.robot_body == f"{BOWL}_main"
    assert contact.obstacle_body.startswith("wooden_cabinet_1")
    assert np.argmax(contact.share) == YAW
    assert contact.share[YAW] > 0.6
    assert contact.velocity[YAW] > 0
    assert contact.motion[YAW] * turn > 0


def test_closing_the_gripper_on_a_bystander_is_the_gripper(environment):
    expert = Expert(environment)
    goal = ["on", OTHER_BOWL, PLATE]
    environment.parsed_problem = {**environment.parsed_problem, "goal_state": [goal]}
    monitor = ContactMonitor(environment)
    contact = run_until_harm(environment, monitor, expert.action)
    assert contact.obstacle_body == f"{BOWL}_main"
    assert "finger" in contact.robot_body
    # The expert still comes nearer while it closes.
    assert contact.share[GRIPPER] > 0.6
    assert contact.velocity[GRIPPER] > 0
    assert contact.motion[GRIPPER] > 0, "closing"
    # The wrong bowl is lifted: its own support is still meant, the fingers on it still are not.
    later = run(environment, monitor, [action(z=0.4, gripper=1.0)] * 10)
    assert monitor.object_names[monitor.grasped] == BOWL
    assert {c.obstacle_body for c in later if c.harmful} == {f"{BOWL}_main"}
    assert all(not c.harmful for c in later if c.grasped)


def test_a_clean_episode_has_meant_contacts_alone(environment):
    monitor = ContactMonitor(environment)
    expert = Expert(environment)
    contacts, held = [], []
    for step in range(TASK.max_steps):
        contacts += run_step(environment, monitor, expert.action, step)
        held.append(monitor.grasped)
        if environment.success():
            break
    assert environment.success()
    run(environment, monitor, [action()] * 12)
    assert monitor.grasped == -1
    assert [c for c in contacts if c.harmful] == []
    pairs = {(c.robot_body, c.obstacle_body) for c in contacts}
    assert ("gripper0_finger_joint1_tip", f"{BOWL}_main") in pairs
    # Taken once, put down once.
    changes = np.flatnonzero(np.diff(held))
    assert len(changes) <= 2
    moved = dict(zip(monitor.object_names, monitor.displacement(), strict=True))
    assert moved[BOWL] > 0.1
    assert moved[OTHER_BOWL] < 0.005


def test_the_held_object_may_touch_its_goal_and_nothing_else(environment):
    monitor = ContactMonitor(environment)
    hold_bowl(environment, monitor, lift_steps=10)
    # Down on its start support again.
    contacts = run(environment, monitor, [action(z=-0.5, gripper=1.0)] * 25)
    on_table = [c for c in contacts if c.grasped and c.obstacle_body == "table"]
    assert on_table
    assert not any(c.harmful for c in on_table)
    run(environment, monitor, [action(z=0.6, gripper=1.0)] * 12)
    # A bystander is put under the held bowl.
    address = environment.model.joint(f"{OTHER_BOWL}_joint0").qposadr[0]
    bowl = environment.data.body(f"{BOWL}_main").xpos
    environment.data.qpos[address : address + 2] = bowl[:2]
    contacts = run(environment, monitor, [action(z=-0.5, gripper=1.0)] * 25)
    hits = [c for c in contacts if c.grasped and c.obstacle_body == f"{OTHER_BOWL}_main"]
    assert hits
    assert all(c.harmful for c in hits)
    assert hits[0].share[Z] > 0.5


def test_a_hit_between_control_steps_is_caught(environment):
    monitor = ContactMonitor(environment)
    model, data = environment.model, environment.data
    joint = model.joint("cookies_1_joint0")
    position, velocity = joint.qposadr[0], joint.dofadr[0]
    home = data.qpos[position : position + 7].copy()
    tip = data.body("gripper0_finger_joint1_tip").xpos.copy()
    tip[2] = gripper_bounds(environment)[0, 2] - np.ptp(bounds(environment, "cookies_1_main")[:, 2])
    count = 0

    def strike():
        nonlocal count
        count += 1
        if count == SUBSTEPS + 5:
            data.qpos[position : position + 3] = tip
            data.qvel[velocity : velocity + 3] = [0, 0, 3.0]
        if count == SUBSTEPS + 18:
            data.qpos[position : position + 7] = home
            data.qvel[velocity : velocity + 6] = 0

    environment.substep_observers.append(strike)
    robot = model.body("robot0_base").id
    contacts = []
    for step in range(3):
        contacts += run_step(environment, monitor, NO_OP, step)
        pairs = model.body_rootid[model.geom_bodyid[data.contact.geom]]
        assert not (pairs == robot).any()
    hits = [c for c in contacts if c.obstacle_body == "cookies_1_main"]
    assert hits
    assert {c.step for c in hits} == {1}
    assert all(c.harmful and c.onset for c in hits)


@pytest.mark.parametrize("cone", ["mjCONE_ELLIPTIC", "mjCONE_PYRAMIDAL"])
def test_normal_forces_are_those_of_mujoco(environment, cone):
    model, data = environment.model, environment.data
    model.opt.cone = getattr(mujoco.mjtCone, cone)
    compared = []

    def compare():
        everything = np.arange(data.ncon)
        ours = normal_forces(model, data, everything)
        force = np.zeros(6)
        for contact in everything:
            mujoco.mj_contactForce(model, data, contact, force)
            compared.append((ours[contact], force[0]))

    environment.substep_observers.append(compare)
    for _ in range(3):
        environment.step(NO_OP)
    for _ in range(25):
        environment.step(action(z=-1.0, x=-0.3, y=0.2))
    ours, theirs = np.transpose(compared)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert theirs.max() > 10


def test_records_reduce_the_raw_contacts_of_the_step(environment):
    """A plain scan of every substep, contact by contact, finds the same peak and impulse."""
    monitor = ContactMonitor(environment)
    model, data = environment.model, environment.data
    run(environment, monitor, [action(x=-0.3, y=0.2)] * 15)
    raw: dict[tuple[str, str], list[float]] = {}

    def scan():
        force = np.zeros(6)
        for index in range(data.ncon):
            names = [model.body(model.geom_bodyid[g]).name for g in data.contact[index].geom]
            robot = [name.startswith(("robot0", "gripper0")) for name in names]
            if sum(robot) == 1:
                mujoco.mj_contactForce(model, data, index, force)
                pair = (names[robot.index(True)], names[robot.index(False)])
                raw.setdefault(pair, []).append(force[0])

    environment.substep_observers.append(scan)
    seen = 0
    for step in range(40):
        raw.clear()
        contacts = run_step(environment, monitor, action(z=-0.8), step)
        strong = {pair for pair, forces in raw.items() if max(forces) >= 1.0}
        assert {(c.robot_body, c.obstacle_body) for c in contacts} == strong
        for contact in contacts:
            forces = raw[contact.robot_body, contact.obstacle_body]
            np.testing.assert_allclose(contact.peak_force, max(forces))
            np.testing.assert_allclose(contact.impulse, sum(forces) * 0.002)
        seen += len(contacts)
    assert seen > 5


def test_a_run_of_contact_has_one_onset_and_short_gaps_do_not_end_it(environment):
    monitor = ContactMonitor(environment)
    # The rule itself, step by step: contact in some steps of the cabinet's wall against the hand.
    hand = gripper_bounds(environment)
    centre = hand[:, 1:].mean(axis=0)
    touching = [1, 1, 0, 0, 1, 0, 0, 0, 1]
    assert MAX_GAP_STEPS == 2
    onsets = {}
    for step, touch in enumerate(touching):
        move_cabinet(environment, low_x=hand[1, 0] + (-0.002 if touch else 0.3), centre=centre)
        for contact in run_step(environment, monitor, NO_OP, step):
            assert contact.obstacle_body.startswith("wooden_cabinet_1")
            onsets[step] = onsets.get(step, False) or contact.onset
            assert contact.onset or not contact.share.any()
        hand = gripper_bounds(environment)
    assert onsets == {0: True, 1: False, 4: False, 8: True}


def test_episodes_are_forgotten_and_lookahead_is_not_seen(environment):
    monitor = ContactMonitor(environment)
    run(environment, monitor, [action(x=-0.3, y=0.2)] * 15)
    first = run_until_harm(environment, monitor, action(z=-0.8))
    environment.reset(0, seed=0)
    monitor.begin_episode()
    run(environment, monitor, [action(x=-0.3, y=0.2)] * 15)
    # A lookahead between two steps, undone by a snapshot, leaves no trace.
    snapshot = environment.snapshot()
    for _ in range(20):
        environment.step(action(z=-1.0))
    environment.restore(snapshot)
    again = run_until_harm(environment, monitor, action(z=-0.8))
    assert again.onset
    for name in ("robot_body", "peak_force", "impulse", "residual"):
        assert getattr(first, name) == getattr(again, name)
    for name in ("position", "normal", "share", "velocity", "motion"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))


@pytest.mark.parametrize("dimension", ["x", "y", "z", "yaw", "pitch"])
@pytest.mark.parametrize("link", ["gripper0_right_gripper", "robot0_link6"])
def test_undoing_one_dimension_takes_its_contribution_off_the_approach(
    environment, dimension, link
):
    """An oracle that knows no Jacobian: the same flight again without one action dimension."""
    parts = {"x": 0.3, "y": 0.2, "z": -0.2, "yaw": -0.2, "pitch": 0.1}
    monitor = ContactMonitor(environment)
    model, data = environment.model, environment.data
    start = environment.snapshot()
    hand = gripper_bounds(environment)
    lower = 0.12 if link.startswith("gripper0") else 0.0
    centre = hand[:, 1:].mean(axis=0) - [0, lower]
    move_cabinet(environment, low_x=hand[1, 0] + 0.02, centre=centre)
    trace = [data.qpos.copy()]
    first_touch: list[int] = []

    def watch():
        trace.append(data.qpos.copy())
        sides = model.body_rootid[model.geom_bodyid[data.contact.geom]]
        hits = (sides == model.body("robot0_base").id).any(axis=1)
        force = np.zeros(6)
        for index in np.flatnonzero(hits):
            mujoco.mj_contactForce(model, data, index, force)
            if force[0] >= 1.0:
                # These contacts are of the state before the last integration.
                first_touch.append(len(trace) - 2)

    environment.substep_observers.append(watch)
    contact = run_until_harm(environment, monitor, action(**parts))
    assert contact.robot_body == link
    at = first_touch[0]
    with_it = approach(model, trace, at, contact)
    np.testing.assert_allclose(with_it, contact.velocity.sum() + contact.residual, atol=2e-3)

    environment.restore(start)
    model.body_pos[model.body("wooden_cabinet_1_main").id] += [5, 0, 0]
    trace[:] = [data.qpos.copy()]
    for _ in range(at // SUBSTEPS + 1):
        environment.step(action(**{**parts, dimension: 0.0}))
    fall = with_it - approach(model, trace, at, contact)
    contribution = contact.velocity[DIMENSIONS.index(dimension)]
    # The controller couples the dimensions by up to a fifth: that is what the tolerance is for.
    assert abs(fall - contribution) < 0.2 * np.abs(contact.velocity).max()


def approach(model, trace: list[np.ndarray], at: int, contact: Contact) -> float:
    """Speed (m/s) at which the touching point of the robot nears the wall over a control step."""
    data = mujoco.MjData(model)
    body = model.body(contact.robot_body).id

    def point(qpos, local=None):
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        matrix = data.xmat[body].reshape(3, 3)
        if local is None:
            return matrix.T @ (contact.position - data.xpos[body])
        return data.xpos[body] + matrix @ local

    local = point(trace[at])
    moved = point(trace[at], local) - point(trace[at - SUBSTEPS], local)
    return float(-contact.normal @ moved / (SUBSTEPS * model.opt.timestep))


@pytest.mark.slow
def test_the_monitor_costs_less_than_15_percent_of_stepping():
    """Of bare stepping; an episode that renders once per query spends far more than that."""
    command = [
        sys.executable,
        "-m",
        "tests.measuring.monitor_cost",
    ]  # without the tests' type checks
    root = Path(__file__).parents[2]
    said = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    assert float(said) < 0.15, f"{float(said):.1%} of stepping"
