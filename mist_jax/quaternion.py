"""Rotations as the policy takes them."""

import math

import numpy as np
from jaxtyping import Float


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
