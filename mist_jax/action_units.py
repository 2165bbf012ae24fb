"""Executed action units, and the metres and radians that users type.

An action of 1 commands 0.05 m a control step in x, y and z and 0.5 rad in roll, pitch and yaw
(robosuite's OSC_POSE as LIBERO configures it). A coefficient is what a whole chunk commands: units
a step, times the chunk's steps, times 0.05 m or 0.5 rad.
"""

import numpy as np
from jaxtyping import Float

from mist_jax.axes import ACTION_DIMENSIONS

METRES, RADIANS = 0.05, 0.5  # of one action unit, in one control step
UNIT = np.array([METRES] * 3 + [RADIANS] * 3 + [1.0])  # [A]; the gripper has no length
UNIT.flags.writeable = False


def to_units(metres: float, radians: float, chunk: int) -> Float[np.ndarray, "A"]:
    """Units per control step, float32, of so many metres and radians over a chunk; gripper 0."""
    size = np.array([metres] * 3 + [radians] * 3 + [0.0]) / (UNIT * chunk)
    return size.astype(np.float32)


def from_units(units: Float[np.ndarray, "*any A"], chunk: int) -> Float[np.ndarray, "*any A"]:
    """Metres and radians over a chunk of an action [..., A] in units per control step.

    The inverse of `to_units`; the gripper's column is in units, summed over the chunk.
    """
    assert np.shape(units)[-1] == len(ACTION_DIMENSIONS)
    return np.asarray(units) * UNIT * chunk
