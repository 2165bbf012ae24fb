"""robosuite's control step, bit for bit, without the work whose results nobody reads.

In every physics substep, robosuite 1.4 solves the dynamics three times (`sim.forward`, the
controller's own `sim.forward`, `sim.step`) and updates every observable. The solver starts from
its last result, so all three solves count; positions, collisions and velocities are the same in
all three and are computed once here.
"""

from typing import Any

import mujoco
import numpy as np


class ControlLoop:
    """Runs the substeps of one control step on a robosuite environment with one arm."""

    def __init__(self, robosuite_env: Any):
        self._robot = robosuite_env.robots[0]
        self._model: mujoco.MjModel = robosuite_env.sim.model._model
        self._data: mujoco.MjData = robosuite_env.sim.data._data
        gripper = self._robot.gripper
        self._gripper_actuators = [self._model.actuator(name).id for name in gripper.actuators]
        gripper_range = self._model.actuator_ctrlrange[self._gripper_actuators]
        self._gripper_middle = 0.5 * (gripper_range[:, 1] + gripper_range[:, 0])
        self._gripper_half_range = 0.5 * (gripper_range[:, 1] - gripper_range[:, 0])
        self._arm_actuators = self._robot._ref_joint_actuator_indexes
        self._torque_low, self._torque_high = (limit.copy() for limit in self._robot.torque_limits)
        self._site = self._robot.eef_site_id
        nv = self._model.nv
        self._jacobian_position = np.zeros((3, nv))
        self._jacobian_rotation = np.zeros((3, nv))
        self._mass_matrix = np.zeros((nv, nv))

    def set_torques(self, action: np.ndarray, first: bool) -> None:
        """Solves the dynamics and sets the actuators; `mj_step2` completes the substep.

        Args:
          action: float64 [7], the control step's action.
          first: whether this is the step's first substep, which sets the controller's goal.
        """
        model, data = self._model, self._data
        controller = self._robot.controller
        mujoco.mj_forwardSkip(model, data, mujoco.mjtStage.mjSTAGE_NONE, 1)
        if controller.new_update:
            mujoco.mj_forwardSkip(model, data, mujoco.mjtStage.mjSTAGE_VEL, 1)
            self._update(controller)
        if first:
            controller.set_goal(action[:6])
        torques = np.clip(controller.run_controller(), self._torque_low, self._torque_high)
        self._robot.torques = torques
        data.ctrl[self._gripper_actuators] = (
            self._gripper_middle
            + self._gripper_half_range * self._robot.gripper.format_action(action[6:])
        )
        data.ctrl[self._arm_actuators] = torques

    def _update(self, controller: Any) -> None:
        """What the controller's own update reads, from dynamics that are already solved."""
        model, data = self._model, self._data
        mujoco.mj_jacSite(model, data, self._jacobian_position, self._jacobian_rotation, self._site)
        mujoco.mj_fullM(model, self._mass_matrix, data.qM)
        columns = controller.qvel_index
        controller.ee_pos = data.site_xpos[self._site].copy()
        controller.ee_ori_mat = data.site_xmat[self._site].reshape(3, 3).copy()
        controller.ee_pos_vel = np.dot(self._jacobian_position, data.qvel)
        controller.ee_ori_vel = np.dot(self._jacobian_rotation, data.qvel)
        controller.joint_pos = data.qpos[controller.qpos_index]
        controller.joint_vel = data.qvel[columns]
        controller.J_pos = self._jacobian_position[:, columns]
        controller.J_ori = self._jacobian_rotation[:, columns]
        controller.J_full = np.vstack([controller.J_pos, controller.J_ori])
        controller.mass_matrix = self._mass_matrix[columns, :][:, columns]
        controller.new_update = False
