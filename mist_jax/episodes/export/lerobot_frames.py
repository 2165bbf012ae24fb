"""An episode as the frames of a LeRobotDataset, without the library: names, dtypes, values.

State, action and pictures are named, ordered and turned as LeRobot's own LIBERO environment and its
public LIBERO datasets have them, so that its policies train on these frames and run there. What is
this project's own has names that no policy of LeRobot takes as an input: those begin with
`observation` or `action`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS
from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.episodes.export.harmful_steps import HarmfulSteps, onset_share
from mist_jax.episodes.rlds import RLDSSteps
from mist_jax.record.episode import Episode
from mist_jax.record.observation import AGENT_CAMERA, JOINTS, WRIST_CAMERA
from mist_jax.record.picture import decode_picture

FRAMES_PER_SECOND = 20  # control steps of LIBERO
ROBOT = "panda"
_CAMERAS = {AGENT_CAMERA: "image", WRIST_CAMERA: "image2"}
_POSE = ("x", "y", "z", "axis_angle_x", "axis_angle_y", "axis_angle_z")


@dataclass(frozen=True)
class Frames:
    """One feature of every frame: its name, dtype and the names of its numbers.

    `values` gives [N, ...] of an episode's N control steps; one number for each of `names`.
    """

    name: str
    dtype: type[np.float32] | type[np.int64] | type[np.bool_]
    names: tuple[str, ...]
    values: Callable[[Episode], np.ndarray]

    def of(self, episode: Episode) -> np.ndarray:
        """[N, len(names)], in the dtype."""
        shape = (len(episode.steps), len(self.names))
        return np.asarray(self.values(episode), self.dtype).reshape(shape)


def step_risk(episode: Episode) -> tuple[np.ndarray, np.ndarray]:
    """The risk that was foretold at the last query up to each step, and whether there was any.

    Returns:
        Float32 [N, M] of signed motions, zeros where none was foretold, and bool [N].
    """
    queries, length = episode.queries, len(episode.steps)
    risk = np.zeros((length, len(SIGNED_MOTIONS)), np.float32)
    known = np.zeros(length, bool)
    if queries.risk is not None and len(queries):
        last = np.searchsorted(queries.step, np.arange(length), side="right") - 1
        known = last >= 0
        risk[known] = queries.risk[last[known]]
    return risk, known


def _scene(episode: Episode) -> np.ndarray:
    key = episode.key
    return np.tile([key.task_id, key.initial_state, key.seed], (len(episode.steps), 1))


def _terminal(episode: Episode) -> np.ndarray:
    return RLDSSteps.of(episode).is_terminal


FRAMES: tuple[Frames, ...] = (
    Frames(
        "observation.state",
        np.float32,
        (*_POSE, "finger_1", "finger_2"),
        lambda episode: RLDSSteps.of(episode).state,
    ),
    Frames("action", np.float32, ACTION_DIMENSIONS, lambda episode: episode.steps.action),
    Frames("commanded", np.float32, ACTION_DIMENSIONS, lambda episode: episode.steps.commanded),
    Frames("perturbed", np.bool_, ("perturbed",), lambda episode: episode.steps.perturbed),
    Frames(
        "joint_position",
        np.float32,
        tuple(f"joint_{number + 1}" for number in range(JOINTS)),
        lambda episode: episode.steps.joint_pos,
    ),
    Frames("next.reward", np.float32, ("reward",), lambda episode: episode.steps.reward),
    Frames("next.success", np.bool_, ("success",), _terminal),
    Frames("next.done", np.bool_, ("done",), lambda episode: RLDSSteps.of(episode).is_last),
    Frames(
        "contact.harmful",
        np.bool_,
        ("harmful",),
        lambda episode: HarmfulSteps.of(episode).harmful_contact,
    ),
    Frames(
        "contact.peak_force",
        np.float32,
        ("newtons",),
        lambda episode: HarmfulSteps.of(episode).peak_force,
    ),
    Frames("contact.onset_share", np.float32, ACTION_DIMENSIONS, onset_share),
    Frames("risk", np.float32, SIGNED_MOTIONS, lambda episode: step_risk(episode)[0]),
    Frames("risk_known", np.bool_, ("known",), lambda episode: step_risk(episode)[1]),
    Frames("scene", np.int64, ("task_id", "initial_state", "seed"), _scene),
)


def lerobot_features(info: DatasetInfo, *, videos: bool) -> dict[str, dict[str, Any]]:
    """What `LeRobotDataset.create` takes as features; pictures are images, or videos."""
    shape = (info.camera_res, info.camera_res, 3)
    pictures = {
        "dtype": "video" if videos else "image",
        "shape": shape,
        "names": ["height", "width", "channels"],
    }
    return {
        **{picture_name(camera): dict(pictures) for camera in info.cameras},
        **{
            one.name: {
                "dtype": np.dtype(one.dtype).name,
                "shape": (len(one.names),),
                "names": list(one.names),
            }
            for one in FRAMES
        },
    }


def lerobot_frames(episode: Episode, info: DatasetInfo) -> Iterator[dict[str, Any]]:
    """One dictionary per control step, as `LeRobotDataset.add_frame` takes it.

    Pictures are uint8 [H, W, 3], upright and mirrored as `record/picture.py` says; `task` is the
    instruction.
    """
    columns = {one.name: one.of(episode) for one in FRAMES}
    for step in range(len(episode.steps)):
        pictures = {
            picture_name(camera): decode_picture(episode.steps.images[camera][step])
            for camera in info.cameras
        }
        rows = {name: values[step] for name, values in columns.items()}
        yield {**pictures, **rows, "task": episode.instruction}


def picture_name(camera: str) -> str:
    """The feature of a camera's pictures; those that LeRobot does not know keep their names."""
    return f"observation.images.{_CAMERAS.get(camera, camera)}"
