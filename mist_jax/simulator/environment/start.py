"""The arm at a start that is not the usual one."""

from typing import Any

import mujoco
import numpy as np

from mist_jax.simulator.variation.scene import VariedScene
from mist_jax.simulator.variation.start_pose import joint_offsets


def moved_start(robosuite_env: Any, scene: VariedScene) -> bool:
    """Moves the arm's joints off where they are, as the scene's `robot` axis draws it.

    Offsets are tried until the joints stay within their limits and the robot touches nothing.

    Returns:
      Whether one was found; the simulation is then forwarded.
    """
    sim = robosuite_env.sim
    model, data = sim.model._model, sim.data._data
    places = list(robosuite_env.robots[0]._ref_joint_pos_indexes)
    limits = model.jnt_range[list(robosuite_env.robots[0]._ref_joint_indexes)]
    robot = model.body(robosuite_env.robots[0].robot_model.root_body).id
    usual = data.qpos[places].copy()
    rng = scene.rng("robot")
    for offset in joint_offsets(scene.variation.robot, len(places), rng):
        moved = usual + offset
        if ((moved < limits[:, 0]) | (moved > limits[:, 1])).any():
            continue
        data.qpos[places] = moved
        sim.forward()
        if not _touches(model, data, robot):
            # Else the arm would turn back to its usual pose, which the controller still holds.
            controller = robosuite_env.robots[0].controller
            controller.update_initial_joints(moved)
            controller.reset_goal()
            return True
    return False


def _touches(model: mujoco.MjModel, data: mujoco.MjData, robot: int) -> bool:
    """Whether a geom of the robot (its root body) touches anything, itself included."""
    pairs = model.body_rootid[model.geom_bodyid[data.contact.geom]]
    return bool(np.any(pairs == robot))
