"""What is drawn for an episode: alike in every run and for every arm of its pair."""

import zlib

import numpy as np
from scipy.spatial.transform import Rotation

from mist_jax.axes import ACTION_DIMENSIONS, Bool, Float
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


def random_changes(
    rng: np.random.Generator,
    count: int,
    size: Float[np.ndarray, "A"],
    dimensions: Bool[np.ndarray, "A"],
) -> Float[np.ndarray, "candidates A"]:
    """`count` changes, uniform in the ball of translations and in that of rotations, float32.

    Of `dimensions` alone; nothing is longer than `size` [A] says (the same for a ball's three).
    """
    drawn = np.zeros((count, len(ACTION_DIMENSIONS)))
    for first in (0, 3):
        among = first + np.flatnonzero(dimensions[first : first + 3])
        way = rng.standard_normal((count, len(among)))
        norm = np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-12)
        # The radius of a point of a ball of n dimensions is the n-th root of a uniform number.
        radius = rng.random((count, 1)) ** (1 / max(len(among), 1))
        drawn[:, among] = way / norm * radius * size[among]
    return drawn.astype(np.float32)
