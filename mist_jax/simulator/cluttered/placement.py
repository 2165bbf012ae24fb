"""Where the obstacle of a scene stands: beside the way of the arm, free of all else."""

import math
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Float

from mist_jax.simulator.cluttered.corridor import Corridor
from mist_jax.simulator.cluttered.obstacles import Obstacle

# Least gap to what may move, and to what is fixed (m): a reset draws the fixtures' poses anew, some
# 2 cm from where they were.
GAP, GAP_TO_FIXED, GAP_ABOVE = 0.015, 0.04, 0.06
# From the gripper's start to the obstacle's surface, horizontally (m).
GAP_TO_GRIPPER = 0.06
# Where an obstacle may stand: in reach, on the table (m); at the far side the view may cut it off.
_LOW, _HIGH = np.array([-0.32, -0.36]), np.array([0.26, 0.38])
_VIEW, _NARROWING = 0.34, 0.4
# Behind the camera and beyond the table: where the obstacles wait that this scene does without.
_ASIDE, _ASIDE_STEP = np.array([2.4, -0.6]), np.array([0.0, 0.4])


@dataclass(frozen=True)
class Way:
    """Horizontal corner points of the arm's way (m, world frame)."""

    gripper: Float[np.ndarray, "2"]
    object: Float[np.ndarray, "2"]
    goal: Float[np.ndarray, "2"]


def draw_pose(
    way: Way, corridor: Corridor, obstacle: Obstacle, ground: float, random: np.random.Generator
) -> Float[np.ndarray, "7"]:
    """A pose beside the way, whatever stands there: position (m), quaternion (wxyz)."""
    carrying = random.uniform() < corridor.carrying
    start, end = (way.object, way.goal) if carrying else (way.gripper, way.object)
    # The arm is still high in the first half of its way to the object.
    along = start + random.uniform(0.0 if carrying else 0.5, 1.0) * (end - start)
    step = end - start
    aside = np.array([-step[1], step[0]]) / max(float(np.linalg.norm(step)), 1e-6)
    distance = obstacle.radius + random.uniform(corridor.nearest, corridor.farthest)
    place = along + aside * distance * random.choice([-1.0, 1.0])
    yaw = random.uniform(-math.pi, math.pi)
    return upright(obstacle, place, ground, yaw)


def waiting_pose(index: int, obstacle: Obstacle) -> Float[np.ndarray, "7"]:
    """Where the obstacle of this index stands, on the floor, in a scene that does without it."""
    return upright(obstacle, _ASIDE + index * _ASIDE_STEP, 0.0, 0.0)


def upright(
    obstacle: Obstacle, place: np.ndarray, ground: float, yaw: float
) -> Float[np.ndarray, "7"]:
    """The pose in which the obstacle stands at a place [2] (m)."""
    height = ground + obstacle.half_size[2]
    return np.array([*place, height, math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)])


def is_free(
    model: mujoco.MjModel, data: mujoco.MjData, body: int, obstacle: Obstacle, way: Way
) -> bool:
    """Whether the obstacle, a body that stands upright in `data`, leaves the gaps that it must.

    Heights count only for what is above it: objects are dropped from some centimetres.
    """
    place = data.xpos[body, :2]
    unseen = abs(place[1]) > _VIEW - _NARROWING * place[0]
    if unseen or (place < _LOW).any() or (place > _HIGH).any():
        return False
    if np.linalg.norm(place - way.gripper) < obstacle.radius + GAP_TO_GRIPPER:
        return False
    ground = [model.body(name).id for name in ("table", "floor") if _has_body(model, name)]
    others = (model.geom_contype | model.geom_conaffinity) > 0
    others &= ~np.isin(model.geom_bodyid, [0, body, *ground])
    turn = data.geom_xmat[others].reshape(-1, 3, 3)
    centre = data.geom_xpos[others] + np.einsum("gij,gj->gi", turn, model.geom_aabb[others, :3])
    half = np.einsum("gij,gj->gi", np.abs(turn), model.geom_aabb[others, 3:])
    apart = np.maximum(np.abs(centre[:, :2] - place) - half[:, :2], 0.0)
    top = data.xpos[body, 2] + obstacle.half_size[2]
    below = (centre - half)[:, 2] < top + GAP_ABOVE
    may_move = model.body_dofnum[model.body_rootid[model.geom_bodyid[others]]] > 0
    gap = obstacle.radius + np.where(may_move, GAP, GAP_TO_FIXED)
    return not (below & (np.linalg.norm(apart, axis=1) < gap)).any()


def _has_body(model: mujoco.MjModel, name: str) -> bool:
    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name) >= 0
