"""What a policy sees of the scene at one moment, and LIBERO's names for it.

This is the only file that knows LIBERO's `robot0_*` keys, and where the cameras are named.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from mist_jax.errors import UserError

AGENT_CAMERA, WRIST_CAMERA = "agentview", "robot0_eye_in_hand"
CAMERAS = (AGENT_CAMERA, WRIST_CAMERA)  # in the order in which policies take them

JOINTS = 7  # of LIBERO's robot, a Franka Panda
FINGERS = 2
POSE = 7  # position and quaternion

_KEYS = {
    "eef_pos": "robot0_eef_pos",
    "eef_quat": "robot0_eef_quat",
    "gripper_qpos": "robot0_gripper_qpos",
    "joint_pos": "robot0_joint_pos",
}
STATE = tuple(_KEYS)
# LIBERO also gives every object's pose in the hand's frame, which is none of an object.
_RELATIVE = "_to_robot0_eef"
_WXYZ, _XYZW = [3, 0, 1, 2], [1, 2, 3, 0]


@dataclass(frozen=True)
class Observation:
    """Robot, objects and pictures before a control step; arrays as the simulator gives them.

    `images` holds what the cameras saw as rendered, upside down and not mirrored, and is empty
    where nothing was rendered. A part of the state that its source does not tell is an empty array.
    """

    eef_pos: np.ndarray  # float64 [3], m, world
    eef_quat: np.ndarray  # float64 [4], xyzw
    gripper_qpos: np.ndarray  # float64 [2], m
    joint_pos: np.ndarray  # float64 [7], rad
    # object's name -> float64 [7]: position m, world, and quaternion wxyz
    object_pose: Mapping[str, np.ndarray] = field(default_factory=dict)
    images: Mapping[str, np.ndarray] = field(default_factory=dict)  # camera -> uint8 [H, W, 3]

    @classmethod
    def from_libero(
        cls, values: Mapping[str, np.ndarray], needs: Collection[str] = STATE
    ) -> "Observation":
        """The same from LIBERO's dictionary, whose other entries are left out.

        Args:
            values: as LIBERO's `step` returns it, or a part of it.
            needs: the parts of `STATE` and the cameras that must be there.

        Raises:
            UserError: one of them is not.
        """
        keys = {**_KEYS, **{camera: f"{camera}_image" for camera in CAMERAS}}
        for name in needs:
            if keys.get(name, name) not in values:
                known = ", ".join(sorted(values)) or "nothing"
                raise UserError(f"the observation has no {keys.get(name, name)!r}; it has: {known}")
        objects = [
            name.removesuffix("_quat")
            for name in values
            if name.endswith("_quat") and name not in _KEYS.values()
        ]
        return cls(
            **{part: np.asarray(values.get(key, np.zeros(0))) for part, key in _KEYS.items()},
            object_pose={
                name: np.concatenate(
                    [values[f"{name}_pos"], np.asarray(values[f"{name}_quat"])[_WXYZ]]
                )
                for name in objects
                if f"{name}_pos" in values and not name.endswith(_RELATIVE)
            },
            images={
                camera: np.asarray(values[keys[camera]])
                for camera in CAMERAS
                if keys[camera] in values
            },
        )

    def as_libero(self) -> dict[str, np.ndarray]:
        """LIBERO's dictionary of the same, bit for bit."""
        state = {key: getattr(self, part) for part, key in _KEYS.items()}
        values = {key: value for key, value in state.items() if value.size}
        for name, pose in self.object_pose.items():
            values[f"{name}_pos"], values[f"{name}_quat"] = pose[:3], pose[3:][_XYZW]
        for camera, image in self.images.items():
            values[f"{camera}_image"] = image
        return values
