"""What RLDS asks of every step beside what an episode's record holds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mist_jax.quaternion import axis_angle
from mist_jax.record.column import column
from mist_jax.record.episode import Episode
from mist_jax.record.observation import AGENT_CAMERA, FINGERS, WRIST_CAMERA

# The names that tools for RLDS give to LIBERO's two cameras; others keep their own.
_RLDS_CAMERAS = {AGENT_CAMERA: "image", WRIST_CAMERA: "wrist_image"}


def rlds_camera(camera: str) -> str:
    """The feature that holds the pictures of `camera`."""
    return _RLDS_CAMERAS.get(camera, camera)


@dataclass(frozen=True)
class RLDSSteps:
    """Per control step, [N, ...]: a function of the episode's own record, so never read back."""

    state: np.ndarray = field(
        metadata=column(
            np.float32,
            3 + 3 + FINGERS,
            name="observation/state",
            doc="what the policy takes: eef position, axis-angle, both finger positions",
        )
    )
    discount: np.ndarray = field(metadata=column(np.float32))
    is_first: np.ndarray = field(metadata=column(np.bool_))
    is_last: np.ndarray = field(metadata=column(np.bool_))
    is_terminal: np.ndarray = field(metadata=column(np.bool_))
    language_instruction: Sequence[str] = field(metadata=column(str))

    @classmethod
    def of(cls, episode: Episode) -> "RLDSSteps":
        """Those of an episode; a time limit cuts it, only success ends it."""
        steps, length = episode.steps, len(episode.steps)
        angle = np.array([axis_angle(quat) for quat in steps.eef_quat]).reshape(length, 3)
        last = np.arange(length) == length - 1
        terminal = last & (episode.outcome == "success")
        return cls(
            state=np.hstack([steps.eef_pos, angle, steps.gripper_qpos]),
            discount=~terminal,
            is_first=np.arange(length) == 0,
            is_last=last,
            is_terminal=terminal,
            language_instruction=[episode.instruction] * length,
        )
