"""What is drawn for an episode: alike in every run and for every arm of its pair."""

import zlib

import numpy as np
from scipy.spatial.transform import Rotation

from mist_jax.axes import ACTION_DIMENSIONS, Float
from mist_jax.record.episode import EpisodeKey


def episode_rng(key: EpisodeKey, purpose: str) -> np.random.Generator:
    """A generator of the episode's scene and seed, for one purpose; its arm does not matter."""
    scene = f"{key.suite}/{key.task_id}/{key.initial_state}/{key.seed}"
    return np.random.default_rng([zlib.crc32(scene.encode()), zlib.crc32(purpose.encode())])


def random_turn(rng: np.random.Generator) -> Float[np.ndarray, "A A"]:
    """One uniform rotation of (x, y, z) and one of (roll, pitch, yaw), float32; gripper as it is.

    What it turns keeps its size in metres and in radians.
    """
    turn = np.eye(len(ACTION_DIMENSIONS), dtype=np.float32)
    # A normalised Gaussian quaternion is a uniform rotation.
    turn[:3, :3], turn[3:6, 3:6] = Rotation.from_quat(rng.standard_normal((2, 4))).as_matrix()
    return turn
