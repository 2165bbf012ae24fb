"""What a client tells of its robot, and the policy's question that it becomes.

Both protocols send LIBERO's pictures turned by 180 degrees, as its public datasets store them; the
policy's preprocessing takes renders, so they are turned back, which loses nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from mist_jax.errors import UserError
from mist_jax.policy.preprocessing.images import rotate_180
from mist_jax.policy.preprocessing.preprocessor import Preprocessor
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.episode_spec import Turn
from mist_jax.serving.frame import EncodedPicture

STATE = 8  # position (m), axis-angle (rad), both finger positions (m)


@dataclass(frozen=True)
class WireNames:
    """What a protocol calls the parts of an observation, for reading and for refusals.

    `cameras` names the picture of each of the policy's cameras.
    """

    cameras: Mapping[str, str]
    state: str
    instruction: str


@dataclass(frozen=True)
class ServedObservation:
    """One observation as a client sends it, checked.

    Attributes:
        images: camera -> uint8 [H, W, 3], turned by 180 degrees; those that the policy takes.
        state: float64 [8], or empty where the policy takes none.
        instruction: what the robot should do.
    """

    images: Mapping[str, np.ndarray]
    state: Float[np.ndarray, "state"]
    instruction: str

    @classmethod
    def read(
        cls, parts: Mapping[str, Any], names: WireNames, preprocessor: Preprocessor
    ) -> "ServedObservation":
        """From the parts of a message, by the protocol's names.

        Raises:
            UserError: the policy takes a part that is missing or of another form.
        """
        instruction = _part(parts, names.instruction)
        if not isinstance(instruction, str):
            raise UserError(f"{names.instruction} must be text, not {type(instruction).__name__}")
        images = {}
        for camera in preprocessor.cameras:
            if camera not in names.cameras:
                raise UserError(f"the policy takes pictures of {camera!r}, which no client sends")
            name = names.cameras[camera]
            images[camera] = _picture(_part(parts, name), name)
        state = np.zeros(0)
        if preprocessor.takes_proprio:
            state = _state(_part(parts, names.state), names.state)
        return cls(images, state, instruction)

    def turn(
        self,
        preprocessor: Preprocessor,
        key: EpisodeKey,
        *,
        step: int,
        max_steps: int,
        motion: np.ndarray,
    ) -> Turn:
        """The question of an episode at a control step; `motion` as `Turn` says.

        Raises:
            UserError: the instruction is empty.
        """
        renders = {camera: rotate_180(image) for camera, image in self.images.items()}
        turn = Turn(
            key,
            step,
            inputs=preprocessor.inputs(renders, self.state, self.instruction),
            motion=motion,
            instruction=self.instruction,
            max_steps=max_steps,
        )
        if not self.state.size:
            return turn
        return Turn(
            **{
                **vars(turn),
                "eef_pos": self.state[:3],
                "eef_quat": Rotation.from_rotvec(self.state[3:6]).as_quat(),
                "gripper_qpos": self.state[6:],
            }
        )


def _part(parts: Mapping[str, Any], name: str) -> Any:
    if name not in parts:
        there = ", ".join(sorted(str(key) for key in parts)[:12])
        raise UserError(f"the observation has no {name!r}, which the policy takes; it has {there}")
    return parts[name]


def _picture(value: Any, name: str) -> np.ndarray:
    if isinstance(value, EncodedPicture):
        try:
            value = value.decode()
        except UserError as error:
            raise UserError(f"{name}: {error}") from None
    if not isinstance(value, np.ndarray):
        raise UserError(f"{name} must be an array or a picture, not {type(value).__name__}")
    fits = value.dtype == np.uint8 and value.ndim == 3 and value.shape[2] == 3
    if not fits or 0 in value.shape:
        raise UserError(f"{name} must be uint8 [H, W, 3], not {value.dtype} {list(value.shape)}")
    return value


def _state(value: Any, name: str) -> np.ndarray:
    try:
        state = np.array(value, np.float64)
    except (TypeError, ValueError):
        state = np.zeros(0)
    if state.shape != (STATE,):
        given = list(value.shape) if isinstance(value, np.ndarray) else type(value).__name__
        raise UserError(
            f"{name} must be {STATE} numbers (position, axis-angle, two fingers), not {given}"
        )
    if not np.isfinite(state).all():
        raise UserError(f"{name} holds a number that is not finite")
    return state
