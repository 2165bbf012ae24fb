"""Which action dimension drove a contact: the approach velocity, decomposed (docs/definitions.md).

World frame throughout, as the OSC_POSE action is: x, y, z in m, roll, pitch, yaw as a rotation
vector in rad, then the gripper.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mist_jax.axes import ACTION_DIMENSIONS

DIMENSIONS = len(ACTION_DIMENSIONS)


@dataclass(frozen=True)
class Attribution:
    """The approach velocity of one contact point, by action dimension.

    Attributes:
      share: [A], non-negative; sums to 1, or is all zero if no dimension approaches.
      velocity: [A], m/s; positive is toward the obstacle.
      residual: m/s of approach that the dimensions do not explain.
      motion: [A], the realised motion: m/s, rad/s, and for the gripper the touching finger's
        speed in m/s, positive closing (0 if no finger touches). Its sign is the direction in
        which that dimension moved.
    """

    share: Float[np.ndarray, "A"]
    velocity: Float[np.ndarray, "A"]
    residual: float
    motion: Float[np.ndarray, "A"]


def no_attribution() -> Attribution:
    """For a contact that is not an onset."""
    return Attribution(np.zeros(DIMENSIONS), np.zeros(DIMENSIONS), 0.0, np.zeros(DIMENSIONS))


def attribute(
    normal: Float[np.ndarray, "3"],
    twist: Float[np.ndarray, "6"],
    point_map: Float[np.ndarray, "3 6"],
    finger_velocity: Float[np.ndarray, "3"],
    closing_speed: float,
    point_velocity: Float[np.ndarray, "3"],
) -> Attribution:
    """Decomposes the velocity at which a contact point nears the obstacle.

    Args:
      normal: unit vector from the obstacle to the robot side.
      twist: the end effector's linear (m/s) and angular (rad/s) velocity.
      point_map: velocity of the contact point per unit of each twist component; see
        `rigid_point_map` and `link_point_map`.
      finger_velocity: of the contact point relative to the hand, from the gripper's joints (m/s).
      closing_speed: of that finger, m/s, positive closing.
      point_velocity: of the contact point in all (m/s).
    """
    inward = -np.asarray(normal)
    velocity = np.append(inward @ point_map * twist, inward @ finger_velocity)
    positive = np.maximum(velocity, 0.0)
    total = positive.sum()
    return Attribution(
        share=positive / total if total > 0 else np.zeros(DIMENSIONS),
        velocity=velocity,
        residual=float(inward @ point_velocity - velocity.sum()),
        motion=np.append(twist, closing_speed),
    )


def rigid_point_map(offset: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 6"]:
    """For a point that moves with the end effector at `offset` from it: v + omega x offset."""
    return np.hstack([np.eye(3), np.cross(np.eye(3), offset).T])


def link_point_map(
    eef_jacobian: Float[np.ndarray, "6 joints"], point_jacobian: Float[np.ndarray, "3 joints"]
) -> Float[np.ndarray, "3 6"]:
    """For a point on an arm link: a twist acts through the joint velocities it asks for.

    Those are the least-squares ones of least norm, on J arm joints.
    """
    return point_jacobian @ np.linalg.pinv(eef_jacobian)


def rotation_vector(
    before: Float[np.ndarray, "3 3"], after: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "3"]:
    """The rotation (rad, world frame, angle below pi) that takes one orientation to the other."""
    delta = after @ before.T
    axis = np.array(
        [delta[2, 1] - delta[1, 2], delta[0, 2] - delta[2, 0], delta[1, 0] - delta[0, 1]]
    )
    sine, cosine = np.linalg.norm(axis) / 2, (np.trace(delta) - 1) / 2
    # sin(x) / x is 1 to double precision below this.
    return axis / 2 if sine < 1e-8 else axis / (2 * sine) * np.arctan2(sine, cosine)
