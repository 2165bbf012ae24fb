"""The motion behind a contact, read off two states of the simulation."""

from typing import TYPE_CHECKING

import mujoco
import numpy as np
from jaxtyping import Float

from mist_jax.simulator.contacts.attribution import (
    Attribution,
    attribute,
    link_point_map,
    no_attribution,
    rigid_point_map,
    rotation_vector,
)

if TYPE_CHECKING:
    from mist_jax.simulator.contacts.bodies import SceneBodies


class RealisedMotion:
    """Attributes contacts from joint positions, without touching the episode's own data."""

    def __init__(self, model: mujoco.MjModel, bodies: "SceneBodies"):
        self._model = model
        self._bodies = bodies
        self._data = mujoco.MjData(model)

    def attribute(
        self,
        before: Float[np.ndarray, "nq"],
        after: Float[np.ndarray, "nq"],
        seconds: float,
        body: int,
        position: Float[np.ndarray, "3"],
        normal: Float[np.ndarray, "3"],
    ) -> Attribution:
        """Attributes a contact to the motion that led to it.

        Args:
          before, after: joint positions one control step before the contact, and at it.
          seconds: the time between them; 0 at the very start of an episode.
          body: the body on the robot side: a link, a finger, or the held object.
          position: the contact point at `after`, m.
          normal: unit vector from the obstacle to the robot side.
        """
        if seconds <= 0:
            return no_attribution()
        data, site = self._data, self._bodies.eef_site
        # Held objects and fingers ride on the hand; arm links do not.
        is_link = self._is_robot(body) and body not in self._bodies.gripper_bodies

        self._pose(before)
        eef_before, eef_matrix_before = data.site_xpos[site].copy(), _matrix(data.site_xmat[site])
        body_before, body_matrix_before = data.xpos[body].copy(), _matrix(data.xmat[body])
        self._pose(after)
        eef = data.site_xpos[site].copy()
        twist = np.concatenate(
            [
                eef - eef_before,
                rotation_vector(eef_matrix_before, _matrix(data.site_xmat[site])),
            ]
        )
        local = _matrix(data.xmat[body]).T @ (position - data.xpos[body])
        moved = position - (body_before + body_matrix_before @ local)
        finger_velocity, closing_speed = self._finger(before, after, seconds, body)
        return attribute(
            normal,
            twist / seconds,
            self._link_map(body, position) if is_link else rigid_point_map(position - eef),
            finger_velocity,
            closing_speed,
            moved / seconds,
        )

    def _pose(self, qpos: np.ndarray) -> None:
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, self._data)

    def _is_robot(self, body: int) -> bool:
        robot = self._model.body_rootid[self._model.site_bodyid[self._bodies.eef_site]]
        return bool(self._model.body_rootid[body] == robot)

    def _finger(
        self, before: np.ndarray, after: np.ndarray, seconds: float, body: int
    ) -> tuple[np.ndarray, float]:
        """Velocity (m/s, world) of a finger's points relative to the hand, and how fast it closes.

        Both are zero for a body that is no part of a finger.
        """
        finger = int(self._bodies.rigid_part[body])
        if finger not in self._bodies.finger_bodies:
            return np.zeros(3), 0.0
        joint = self._model.body_jntadr[finger]
        address = self._model.jnt_qposadr[joint]
        slide = (after[address] - before[address]) / seconds
        # Both finger joints are 0 where the fingers meet, and open away from it.
        closing = (abs(before[address]) - abs(after[address])) / seconds
        return slide * self._data.xaxis[joint], float(closing)

    def _link_map(self, body: int, position: np.ndarray) -> np.ndarray:
        model, data, arm = self._model, self._data, self._bodies.arm_dofs
        mujoco.mj_comPos(model, data)
        linear, angular = np.zeros((3, model.nv)), np.zeros((3, model.nv))
        mujoco.mj_jacSite(model, data, linear, angular, self._bodies.eef_site)
        point = np.zeros((3, model.nv))
        mujoco.mj_jac(model, data, point, None, position, body)
        return link_point_map(np.vstack([linear, angular])[:, arm], point[:, arm])


def _matrix(flat: np.ndarray) -> np.ndarray:
    return flat.reshape(3, 3).copy()
