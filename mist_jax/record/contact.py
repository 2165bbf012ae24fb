"""One pair of bodies in contact during one control step, and who is to blame."""

from dataclasses import dataclass

import numpy as np

DEFAULT_HORIZON = 16  # control steps ahead within which a harmful contact counts
DEFAULT_SHARE = 0.25  # least part of the approach for a dimension to be blamed


@dataclass(frozen=True)
class Contact:
    """One pair of bodies in contact during one control step, reduced over its physics substeps.

    `robot_body` is the robot link, or the grasped object's body; `obstacle_body` the other one.
    Positions are metres in the world frame; `normal` is a unit vector pointing from the obstacle to
    the robot side. `share`, `velocity`, `motion` and `residual` are the attribution of DESIGN
    section 5, filled at onset and zero elsewhere: `velocity` is each dimension's approach to the
    obstacle, `motion` how it moved at all, so that its sign tells -x from +x (the gripper's is
    positive closing).
    """

    step: int
    robot_body: str
    obstacle_body: str
    grasped: bool
    harmful: bool
    onset: bool
    peak_force: float  # N
    impulse: float  # N s
    position: np.ndarray  # [3]
    normal: np.ndarray  # [3]
    share: np.ndarray  # [A]
    velocity: np.ndarray  # [A], m/s, positive toward the obstacle
    motion: np.ndarray  # [A], m/s, rad/s, and m/s of the touching finger
    residual: float  # m/s
