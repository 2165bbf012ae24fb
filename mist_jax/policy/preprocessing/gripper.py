"""From the policy's gripper output to the environment's gripper action."""

import numpy as np
from jaxtyping import Float


def gripper_for_environment(
    actions: Float[np.ndarray, "*batch A"],
) -> Float[np.ndarray, "*batch A"]:
    """Actions whose last dimension is -1 (open), +1 (close) or 0, as a new array.

    The policy's data has 1 for open and 0 for closed: the output is made binary, then negated.
    """
    converted = np.array(actions, copy=True)
    converted[..., -1] = -np.sign(2 * converted[..., -1] - 1)
    return converted


GRIPPER_SLOPE = -2.0
"""Of the gripper's executed action before it is made binary, -(2 output - 1), in the output."""


def gripper_for_policy(actions: Float[np.ndarray, "*batch A"]) -> Float[np.ndarray, "*batch A"]:
    """The inverse for training data: environment actions with the gripper on [0, 1], 1 open."""
    converted = np.array(actions, copy=True)
    converted[..., -1] = (1 - converted[..., -1]) / 2
    return converted
