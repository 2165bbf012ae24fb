"""One pair of bodies in contact during one control step, and who is to blame."""

from dataclasses import dataclass, field

import numpy as np

from mist_jax.record.column import column

DEFAULT_HORIZON = 16  # control steps ahead within which a harmful contact counts
DEFAULT_SHARE = 0.25  # least part of the approach for a dimension to be blamed


@dataclass(frozen=True)
class Contact:
    """One pair of bodies in contact during one control step, reduced over its physics substeps.

    `robot_body` is the robot link, or the grasped object's body; `obstacle_body` the other one.
    Positions are metres in the world frame; `normal` is a unit vector pointing from the obstacle to
    the robot side. `share`, `velocity`, `motion` and `residual` say which action dimension drove
    the contact (docs/definitions.md, attribution), filled at onset and zero elsewhere: `velocity`
    is each dimension's approach to the obstacle, `motion` how it moved at all, so that its sign
    tells -x from +x (the gripper's is positive closing).
    """

    step: int  # stored as the step that holds the contact
    robot_body: str = field(metadata=column(str))
    obstacle_body: str = field(metadata=column(str))
    grasped: bool = field(metadata=column(np.bool_, doc="robot_body is the grasped object"))
    harmful: bool = field(metadata=column(np.bool_))
    onset: bool = field(metadata=column(np.bool_, doc="the contact begins in this step"))
    peak_force: float = field(metadata=column(np.float32, doc="N"))
    impulse: float = field(metadata=column(np.float32, doc="N s"))
    position: np.ndarray = field(metadata=column(np.float32, 3, doc="m, world"))
    normal: np.ndarray = field(metadata=column(np.float32, 3, doc="obstacle to robot side"))
    share: np.ndarray = field(metadata=column(np.float32, "A", doc="of the approach, sums to 1"))
    velocity: np.ndarray = field(
        metadata=column(np.float32, "A", doc="m/s, positive toward the obstacle")
    )
    motion: np.ndarray = field(
        metadata=column(np.float32, "A", doc="m/s, rad/s, and m/s of the touching finger")
    )
    residual: float = field(metadata=column(np.float32, doc="m/s that no dimension explains"))
