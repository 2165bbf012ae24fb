"""What happened at every control step of an episode."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mist_jax.record.column import column
from mist_jax.record.observation import FINGERS, JOINTS, POSE


@dataclass(frozen=True)
class Steps:
    """Per control step, [N, ...]: the state is the one *before* the action of that step.

    `commanded` is what the policy (or arm) asked for, `action` what was executed (they differ where
    a perturbation acted), both [N, A] in [-1, 1]. `displacement` [N, O] is each object's distance
    in metres from where it stood at the episode's start, *after* the step. Fields that an
    `Observation` has too mean the same, in float32.
    """

    action: np.ndarray = field(metadata=column(np.float32, "A", doc="executed, [-1, 1]"))
    commanded: np.ndarray = field(metadata=column(np.float32, "A", doc="asked for, [-1, 1]"))
    perturbed: np.ndarray = field(metadata=column(np.bool_, doc="a perturbation acted"))
    reward: np.ndarray = field(metadata=column(np.float32, doc="1 where the step reached the goal"))
    eef_pos: np.ndarray = field(
        metadata=column(np.float32, 3, name="observation/eef_pos", doc="m, world")
    )
    eef_quat: np.ndarray = field(
        metadata=column(np.float32, 4, name="observation/eef_quat", doc="xyzw")
    )
    gripper_qpos: np.ndarray = field(
        metadata=column(np.float32, FINGERS, name="observation/gripper_qpos", doc="m")
    )
    joint_pos: np.ndarray = field(
        metadata=column(np.float32, JOINTS, name="observation/joint_state", doc="rad")
    )
    object_pose: np.ndarray = field(
        metadata=column(
            np.float32, "O", POSE, name="objects/pose", doc="position m, quaternion wxyz"
        )
    )
    displacement: np.ndarray = field(
        metadata=column(np.float32, "O", name="objects/displacement", doc="m, since the start")
    )
    grasped: np.ndarray = field(
        metadata=column(np.int32, doc="index into object_names, -1 for none")
    )
    # camera -> N JPEGs in the form of `record/picture.py`, b"" where none was kept; a camera of
    # which none was kept is left out
    images: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.action)
