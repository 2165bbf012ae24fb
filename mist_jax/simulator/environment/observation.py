"""What a policy sees, bit for bit as LIBERO gives it, computed only when it is asked for."""

from dataclasses import dataclass
from typing import Any, Literal

import mujoco
import numpy as np

from mist_jax.record.observation import AGENT_CAMERA, CAMERAS, Observation
from mist_jax.simulator.environment.rendering import SceneRenderer
from mist_jax.simulator.variation.viewpoint import Viewpoint, moved_camera

# LIBERO's observables sample in the substep with this index, the last but one of a control
# step, because its forced updates at reset shift their clock by two substeps.
SAMPLED_SUBSTEP = 23


@dataclass(frozen=True)
class Sample:
    """The joint positions from which an observation follows.

    Attributes:
      poses: float64 [nq], those that body poses and images show; MuJoCo computes poses before
        it integrates, so they are one substep older.
      joints: float64 [nq], those that the joint readings show.
    """

    poses: np.ndarray
    joints: np.ndarray


class ObservationReader:
    """Turns samples into observations, on MuJoCo data of its own."""

    def __init__(
        self, robosuite_env: Any, camera_res: int, render: Literal["exact", "fast", "none"]
    ):
        from robosuite.utils.binding_utils import MjData

        sim = robosuite_env.sim
        robot = robosuite_env.robots[0]
        self._model: mujoco.MjModel = sim.model._model
        data = MjData(sim.model)
        self._data: mujoco.MjData = data._data
        self._arm_joints = list(robot._ref_joint_pos_indexes)
        self._gripper_joints = list(robot._ref_gripper_joint_pos_indexes)
        self._eef_site = robot.eef_site_id
        self._eef_body = sim.model.body_name2id(robot.robot_model.eef_name)
        self._objects = {
            item.name: robosuite_env.obj_body_id[item.name] for item in robosuite_env.objects
        }
        self._cameras = {name: sim.model.camera_name2id(name) for name in CAMERAS}
        self._renderer = None if render == "none" else SceneRenderer(sim, data, camera_res, render)
        agent = self._cameras[AGENT_CAMERA]
        self._usual_view = self._model.cam_pos[agent].copy(), self._model.cam_quat[agent].copy()
        self._ground = max(0.0, float(robosuite_env.workspace_offset[2]))

    def read(self, sample: Sample, render: bool) -> Observation:
        """The observation of a sample; see `Environment.observe`."""
        if render and self._renderer is None:
            raise ValueError('an environment made with render="none" has no images')
        model, data = self._model, self._data
        data.qpos[:] = sample.poses
        mujoco.mj_kinematics(model, data)
        images = {}
        if render and self._renderer is not None:
            mujoco.mj_comPos(model, data)
            mujoco.mj_camlight(model, data)
            for name, camera_id in self._cameras.items():
                images[name] = self._renderer.render(camera_id)
        return Observation(
            eef_pos=data.site_xpos[self._eef_site].copy(),
            eef_quat=data.xquat[self._eef_body][[1, 2, 3, 0]],
            gripper_qpos=sample.joints[self._gripper_joints],
            joint_pos=sample.joints[self._arm_joints],
            object_pose={
                name: np.concatenate([data.xpos[body], data.xquat[body]])
                for name, body in self._objects.items()
            },
            images=images,
        )

    def move_camera(self, viewpoint: Viewpoint | None) -> None:
        """Shows the scene from another viewpoint, or (None) from the usual one, until told else."""
        pose = self._usual_view
        if viewpoint is not None:
            pose = moved_camera(*pose, self._ground, viewpoint)
        agent = self._cameras[AGENT_CAMERA]
        self._model.cam_pos[agent], self._model.cam_quat[agent] = pose

    def close(self) -> None:
        """Frees the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
