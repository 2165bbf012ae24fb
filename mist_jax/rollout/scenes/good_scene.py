"""What makes a sampled scene a good one: the expert's episode in it says."""

import numpy as np

from mist_jax.record.episode import Episode

# Some placements overlap, and the simulator throws an object off the table.
_WATCHED = 8  # control steps, 0.4 s: the arm is not near anything yet
_STILL = 0.01  # m; the published scenes of LIBERO stay below


def is_good_scene(episode: Episode) -> bool:
    """Whether the expert solved it without a harmful contact, and its objects stood still before.

    Still is what moves by less than 1 cm in the first 0.4 s after the settling steps.
    """
    return episode.safe_success and _stands_still(episode.steps.object_pose)


def _stands_still(object_pose: np.ndarray) -> bool:
    positions = object_pose[: _WATCHED + 1, :, :3]  # [T, O, 7] in all
    ways = np.linalg.norm(positions - positions[:1], axis=-1)
    return bool(ways.max(initial=0.0) < _STILL)
