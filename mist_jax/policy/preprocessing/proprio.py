"""The robot's own state as the policy takes it: position, axis-angle, gripper."""

import numpy as np
from jaxtyping import Float

from mist_jax.policy.preprocessing.statistics import Bounds
from mist_jax.quaternion import axis_angle
from mist_jax.record.observation import Observation

PROPRIO = ("eef_pos", "eef_quat", "gripper_qpos")  # what of an observation it is made of


def read_proprio(observation: Observation) -> Float[np.ndarray, "proprio"]:
    """End-effector position (m), axis-angle (rad) and both finger positions (m), float64 [8]."""
    return np.concatenate(
        [
            np.asarray(observation.eef_pos, np.float64),
            axis_angle(observation.eef_quat),
            np.asarray(observation.gripper_qpos, np.float64),
        ]
    )


def normalise_proprio(
    proprio: Float[np.ndarray, "*batch proprio"], bounds: Bounds
) -> Float[np.ndarray, "*batch proprio"]:
    """The state on [-1, 1] between the data's bounds, clipped, float32 [P], as a new array.

    The reference writes the result back into the observation, so asking twice about one
    observation normalises twice; here the input is never changed.
    """
    span = bounds.high - bounds.low + 1e-8
    normalised = np.where(bounds.mask, 2.0 * (proprio - bounds.low) / span - 1.0, proprio)
    return np.clip(normalised, -1.0, 1.0).astype(np.float32)
