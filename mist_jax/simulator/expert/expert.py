"""A scripted expert: the action to take in any state of a pick-and-place task.

It holds no memory of what it did before, so it can label states that another policy reached
(DAgger, Ross et al. 2011): what is under way is read off the scene.
"""

import math

import mujoco
import numpy as np

from mist_jax.errors import UserError
from mist_jax.simulator.environment.environment import Environment
from mist_jax.simulator.expert.grasp import GraspPlanner
from mist_jax.simulator.expert.obstacles import CollisionBoxes, height_to_clear

# What an action of 1 commands (robosuite's OSC_POSE).
_METRES, _RADIANS = 0.05, 0.5
# Proportional near the goal; further off the square root, which is what a constant deceleration
# asks for: the arm overshoots where it is stretched otherwise.
_GAIN = 2.0
_BRAKING = 0.07
# A hard correction of the tilt drives a stretched arm into its joint limits.
_MAX_TURN, _MAX_TILT = 0.6, 0.2
# Canonical pose of the gripper: pointing down, fingers along the world's y axis.
_DOWN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])

# Angle of joint 4 (rad) from which a straight arm is drawn back; its limit is -0.07.
_ELBOW_BENT, _ELBOW_STRAIGHT = -0.22, -0.10

_HOVER = 0.05
_CARRY = 0.06
# Lifted straight up, a bowl at the back of the open drawer meets the top of the cabinet.
_CREEP = 0.1
# Half-widths of what is swept along (m), and the gap to leave over obstacles.
_GRIPPER_WIDTH, _OBJECT_WIDTH = 0.07, 0.08
_FINGERTIP, _GAP = 0.011, 0.025
_OPEN = 0.060


class Expert:
    """Solves `On OBJECT SUPPORT` and `In OBJECT CONTAINER_region` from simulator state."""

    def __init__(self, environment: Environment):
        """Reads the goal and the fixed geometry.

        Raises:
          UserError: the task's goal is not one of the two kinds.
        """
        self._data: mujoco.MjData = environment.data
        model: mujoco.MjModel = environment.model
        goals = environment.parsed_problem["goal_state"]
        if len(goals) != 1 or len(goals[0]) != 3 or goals[0][0] not in ("on", "in"):
            raise UserError(
                f"the scripted expert solves one `On` or `In` goal, and {environment.task.name} "
                f"asks for {goals}: choose a task of libero_spatial or libero_object"
            )
        predicate, name, target = goals[0]
        env = environment.robosuite_env
        self._body = env.obj_body_id[name]
        self._inside = predicate == "in"
        if self._inside:
            self._site = model.site(target).id
            self._target_body = int(model.body_rootid[model.site_bodyid[self._site]])
        else:
            self._target_body = env.obj_body_id[target]

        root = model.body_rootid[model.geom_bodyid]
        solid = (model.geom_contype | model.geom_conaffinity) > 0
        robot_root = model.body_rootid[model.body("robot0_base").id]
        self._object_geoms = solid & (root == self._body)
        grounds = {model.body(n).id for n in ("table", "floor") if _has_body(model, n)} | {0}
        others = solid & ~self._object_geoms & (root != robot_root)
        others &= ~np.isin(root, list(grounds))
        others &= model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE
        self._boxes = CollisionBoxes(model, np.flatnonzero(self._object_geoms))
        self._obstacles = CollisionBoxes(model, np.flatnonzero(others))
        self._target_boxes = CollisionBoxes(
            model, np.flatnonzero(solid & (root == self._target_body))
        )
        self._planner = GraspPlanner(model, self._body, self._boxes, self._obstacles)
        self._ground = 0.9 if _has_body(model, "table") else 0.0

        self._grip_site = model.site("gripper0_grip_site").id
        self._fingers = tuple(
            np.isin(model.geom_bodyid, _subtree(model, model.body(f"gripper0_{side}finger").id))
            for side in ("left", "right")
        )
        self._elbow = model.joint("robot0_joint4").qposadr[0]
        self._base = model.body("robot0_base").pos[:2].copy()
        self._finger_joints = tuple(
            model.joint(f"gripper0_finger_joint{i}").qposadr[0] for i in (1, 2)
        )

    def action(self) -> np.ndarray:
        """The action for the present state, which it leaves as it is.

        Returns:
          float32 [7] in [-1, 1], an OSC_POSE action: translation (0.05 m per unit) and rotation
          (axis and angle, 0.5 rad per unit) in the world frame; gripper, -1 opens, +1 closes.
        """
        grip = self._data.site_xpos[self._grip_site]
        opening = self._data.qpos[self._finger_joints[0]] - self._data.qpos[self._finger_joints[1]]
        held = self._held()
        if self._placed():
            rise = 0.0 if held else 0.06
            return self._command(np.array([0.0, 0.0, rise]), self._yaw(), close=False)
        if held:
            return self._carry()
        return self._reach(grip, opening)

    def _reach(self, grip: np.ndarray, opening: float) -> np.ndarray:
        grasp = self._planner.plan(self._data, grip, opening, self._grip_at_goal(), self._ground)
        error = grasp.point - grip
        way = math.hypot(error[0], error[1])
        turn = abs(_wrapped(grasp.yaw - self._yaw()))
        # Once the fingers have begun to close, a little drift is no reason to start again.
        near = 0.006 if opening > 0.072 else 0.014
        if way < near and abs(error[2]) < near + 0.002 and turn < 0.2:
            return self._command(error, grasp.yaw, close=True)
        slope = 2.0 if self._planner.has_rim else 6.0
        funnel = min(max(slope * (way - 0.005), 0.0), _HOVER)
        if opening < _OPEN or turn > 0.2:
            funnel = max(funnel, 0.035)
        low, high = self._obstacles.body_bounds(self._data)
        over = height_to_clear(low, high, grip[:2], grasp.point[:2], _GRIPPER_WIDTH)
        height = max(grasp.point[2] + funnel, over + _FINGERTIP + _GAP)
        return self._command(_gated(error, height - grip[2]), grasp.yaw, close=False)

    def _carry(self) -> np.ndarray:
        goal, level = self._goal()
        here = self._data.xpos[self._body]
        bottom = self._boxes.bounds(self._data)[0][:, 2].min()
        error = np.array([goal[0] - here[0], goal[1] - here[1], 0.0])
        way = math.hypot(error[0], error[1])
        low, high = self._obstacles.body_bounds(self._data)
        over = height_to_clear(low, high, here[:2], goal, _OBJECT_WIDTH)
        ramp = level + min(max(2.0 * (way - 0.012), 0.0), _CARRY) - max(way - 0.15, 0.0)
        height = max(ramp, over + _GAP, self._ground + min(way, 0.04))
        return self._command(_gated(error, height - bottom, _CREEP), self._yaw(), close=True)

    def _goal(self) -> tuple[np.ndarray, float]:
        """Where the object goes: horizontal position [2], and the height of its lowest point."""
        low, high = self._target_boxes.bounds(self._data)
        if self._inside:
            return self._data.site_xpos[self._site][:2], float(high[:, 2].max()) - 0.03
        centre = self._data.xpos[self._target_body][:2]
        under = ((low[:, :2] < centre) & (centre < high[:, :2])).all(1)
        top = high[under, 2].max() if under.any() else high[:, 2].max()
        return centre, float(top) - 0.003

    def _grip_at_goal(self) -> np.ndarray:
        goal, level = self._goal()
        return np.array([goal[0], goal[1], level + _CARRY])

    def _placed(self) -> bool:
        goal, level = self._goal()
        here = self._data.xpos[self._body]
        way = math.hypot(goal[0] - here[0], goal[1] - here[1])
        bottom = self._boxes.bounds(self._data)[0][:, 2].min()
        if self._inside:
            return way < 0.03 and bottom < level + 0.02
        return way < 0.025 and bottom < level + 0.006

    def _held(self) -> bool:
        pairs = self._data.contact.geom
        of_object = self._object_geoms[pairs]
        return all((finger[pairs] & of_object[:, ::-1]).any() for finger in self._fingers)

    def _yaw(self) -> float:
        """Turn of the gripper about the vertical from the canonical pose (rad)."""
        rotation = self._data.site_xmat[self._grip_site]
        return math.atan2(rotation[3], rotation[0]) - math.pi / 2

    def _command(self, error: np.ndarray, yaw: float, close: bool) -> np.ndarray:
        move = np.array([*_approach(error[:2]), *_approach(error[2:])])
        move /= max(1.0, np.abs(move).max())
        cosine, sine = math.cos(yaw), math.sin(yaw)
        wanted = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]]) @ _DOWN
        turn = _rotation_vector(wanted @ self._data.site_xmat[self._grip_site].reshape(3, 3).T)
        turn *= _GAIN / _RADIANS
        turn[2] = min(max(turn[2], -_MAX_TURN), _MAX_TURN)
        turn[:2] /= max(1.0, np.abs(turn[:2]).max() / _MAX_TILT)
        elbow = self._data.qpos[self._elbow]
        straight = min(max((elbow - _ELBOW_BENT) / (_ELBOW_STRAIGHT - _ELBOW_BENT), 0.0), 1.0)
        if straight > 0:
            inward = self._base - self._data.site_xpos[self._grip_site][:2]
            move[:2] += straight * (inward / np.linalg.norm(inward) - move[:2])
            turn[:2] *= 1.0 - straight
        return np.concatenate([move, turn, [1.0 if close else -1.0]]).astype(np.float32)


def _approach(error: np.ndarray) -> np.ndarray:
    """The part of an action that goes for an error [...] (m): along it, at a speed to stop from."""
    size = math.sqrt(float(error @ error))
    if size < 1e-9:
        return np.zeros_like(error)
    return error / size * min(_GAIN * size / _METRES, math.sqrt(size / _BRAKING))


def _gated(error: np.ndarray, climb: float, least: float = 0.0) -> np.ndarray:
    """The error [3] with its height replaced; too low, a long way sideways waits.

    Args:
      climb: height still to gain (m).
      least: share of the way sideways that does not wait.
    """
    share = max(1.0 - (climb - 0.005) / 0.02, (0.03 - math.hypot(error[0], error[1])) / 0.01)
    share = min(max(share, least), 1.0)
    return np.array([share * error[0], share * error[1], climb])


def _rotation_vector(rotation: np.ndarray) -> np.ndarray:
    quaternion, vector = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector


def _wrapped(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi


def _has_body(model: mujoco.MjModel, name: str) -> bool:
    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name) >= 0


def _subtree(model: mujoco.MjModel, body: int) -> list[int]:
    found = [body]
    for child in range(body + 1, model.nbody):
        if model.body_parentid[child] in found:
            found.append(child)
    return found
