"""The robot's own state as the policy takes it: position, axis-angle, gripper."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from mist_jax.policy.statistics import Bounds


def axis_angle(quaternion: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3"]:
    """Axis times angle (rad, angle in [0, 2 pi]) of a quaternion xyzw.

    The sign of the quaternion is kept: q and -q are one rotation but two inputs to the policy,
    which has seen both. Turning w < 0 into w > 0 costs a tenth or more of its success rate.
    """
    w = min(max(float(quaternion[3]), -1.0), 1.0)
    sine = math.sqrt(1.0 - w * w)
    if sine == 0.0:
        return np.zeros(3)
    return np.asarray(quaternion[:3], np.float64) * 2.0 * math.acos(w) / sine


def read_proprio(observation: Mapping[str, np.ndarray]) -> Float[np.ndarray, "8"]:
    """End-effector position (m), axis-angle (rad) and both finger positions (m), float64 [8].

    `observation` is LIBERO's, with `robot0_eef_pos`, `robot0_eef_quat` (xyzw) and
    `robot0_gripper_qpos`.
    """
    return np.concatenate(
        [
            np.asarray(observation["robot0_eef_pos"], np.float64),
            axis_angle(observation["robot0_eef_quat"]),
            np.asarray(observation["robot0_gripper_qpos"], np.float64),
        ]
    )


def normalise_proprio(proprio: Float[np.ndarray, "P"], bounds: Bounds) -> Float[np.ndarray, "P"]:
    """The state on [-1, 1] between the data's bounds, clipped, float32 [P], as a new array.

    The reference writes the result back into the observation, so asking twice about one
    observation normalises twice; here the input is never changed.
    """
    span = bounds.high - bounds.low + 1e-8
    normalised = np.where(bounds.mask, 2.0 * (proprio - bounds.low) / span - 1.0, proprio)
    return np.clip(normalised, -1.0, 1.0).astype(np.float32)
