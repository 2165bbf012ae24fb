"""What happened at every control step of an episode."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Steps:
    """Per control step, [N, ...]: the state is the one *before* the action of that step.

    `commanded` is what the policy (or arm) asked for, `action` what was executed (they differ where
    a perturbation acted), both [N, A] in [-1, 1]. `displacement` [N, O] is each object's distance
    in metres from where it stood at the episode's start, *after* the step; `object_pose` [N, O, 7]
    is position and quaternion wxyz before it.
    """

    action: np.ndarray  # float32 [N, A]
    commanded: np.ndarray  # float32 [N, A]
    perturbed: np.ndarray  # bool [N]
    reward: np.ndarray  # float32 [N]
    eef_pos: np.ndarray  # float32 [N, 3], m, world
    eef_quat: np.ndarray  # float32 [N, 4], xyzw
    gripper_qpos: np.ndarray  # float32 [N, 2], m
    joint_pos: np.ndarray  # float32 [N, 7], rad
    object_pose: np.ndarray  # float32 [N, O, 7]
    displacement: np.ndarray  # float32 [N, O], m
    grasped: np.ndarray  # int32 [N], index into object_names, -1 for none
    # camera -> N JPEGs, b"" where none was kept; a camera of which none was kept is left out
    images: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.action)
