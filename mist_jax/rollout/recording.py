"""The steps of the episode that a worker is running, gathered one by one."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import simplejpeg

from mist_jax.record.steps import Steps
from mist_jax.rollout.episode_spec import ImageRate

CAMERAS = ("agentview_image", "robot0_eye_in_hand_image")
JPEG_QUALITY = 95

_WIDTHS = {
    "action": (7,),
    "commanded": (7,),
    "perturbed": (),
    "reward": (),
    "eef_pos": (3,),
    "eef_quat": (4,),
    "gripper_qpos": (2,),
    "joint_pos": (7,),
    "grasped": (),
}
_DTYPES = {"perturbed": np.bool_, "grasped": np.int32}


class Recording:
    """Columns of `Steps` under construction; `object_names` fixes the order of the objects."""

    def __init__(self, object_names: Sequence[str]):
        self._object_names = tuple(object_names)
        self._columns: dict[str, list] = {
            name: [] for name in (*_WIDTHS, "object_pose", "displacement")
        }
        self._images: dict[str, list[bytes]] = {camera: [] for camera in CAMERAS}

    def add(
        self,
        observation: Mapping[str, np.ndarray],
        *,
        keep_images: bool,
        action: np.ndarray,
        commanded: np.ndarray,
        perturbed: bool,
        success: bool,
        displacement: np.ndarray,
        grasped: int,
    ) -> None:
        """One control step: the observation before it, its action, and what came of it."""
        row = {
            "action": action,
            "commanded": commanded,
            "perturbed": perturbed,
            "reward": float(success),
            "eef_pos": observation["robot0_eef_pos"],
            "eef_quat": observation["robot0_eef_quat"],
            "gripper_qpos": observation["robot0_gripper_qpos"],
            "joint_pos": observation["robot0_joint_pos"],
            "object_pose": [_pose(observation, name) for name in self._object_names],
            "displacement": displacement,
            "grasped": grasped,
        }
        for name, value in row.items():
            self._columns[name].append(value)
        for camera, images in self._images.items():
            images.append(_jpeg(observation[camera]) if keep_images else b"")

    def steps(self) -> Steps:
        """What was gathered; cameras of which no image was kept are left out."""
        count, objects = len(self._columns["reward"]), len(self._object_names)
        shapes = _WIDTHS | {"object_pose": (objects, 7), "displacement": (objects,)}
        columns = {
            name: np.asarray(self._columns[name], _DTYPES.get(name, np.float32)).reshape(
                count, *shape
            )
            for name, shape in shapes.items()
        }
        images = {camera: tuple(kept) for camera, kept in self._images.items() if any(kept)}
        return Steps(**columns, images=images)


def _pose(observation: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    xyzw = observation[f"{name}_quat"]
    return np.concatenate([observation[f"{name}_pos"], xyzw[[3, 0, 1, 2]]])


def _jpeg(image: np.ndarray) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=JPEG_QUALITY)


def thin_images(steps: Steps, rate: ImageRate, chunk: int) -> Steps:
    """The steps with the pictures that `rate` keeps, of those that there are."""
    if rate == "step" or not steps.images:
        return steps
    images = {
        camera: tuple(b"" if step % chunk else jpeg for step, jpeg in enumerate(jpegs))
        for camera, jpegs in steps.images.items()
    }
    return dataclasses.replace(steps, images=images if rate == "query" else {})
