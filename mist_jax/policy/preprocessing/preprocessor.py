"""From one LIBERO observation and an instruction to the arrays of the compiled forward.

numpy only, and picklable: it runs in the simulator workers, before the policy's batch is formed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from mist_jax.errors import UserError
from mist_jax.policy.preprocessing.images import ImagePreprocessing
from mist_jax.policy.preprocessing.prompt import prompt_of
from mist_jax.policy.preprocessing.proprio import normalise_proprio, read_proprio
from mist_jax.policy.preprocessing.statistics import Statistics, unnormalise_actions
from mist_jax.policy.preprocessing.tokenizer import PromptTokenizer

CAMERAS = ("agentview_image", "robot0_eye_in_hand_image")


@dataclass(frozen=True)
class PolicyInputs:
    """One example of a policy's batch, not yet padded.

    The images are not yet normalised: each tower does that with its own constants.
    """

    images: UInt8[np.ndarray, "I H W 3"]
    proprio: Float[np.ndarray, "P"]  # on [-1, 1]; empty where the model takes none
    token_ids: Int[np.ndarray, "T"]  # BOS .. prompt .. terminator
    prompt: str


@dataclass(frozen=True)
class Preprocessor:
    """What a checkpoint does before and after its network."""

    images: ImagePreprocessing
    cameras: tuple[str, ...]
    takes_proprio: bool
    statistics: Statistics
    tokenizer: PromptTokenizer

    def __call__(self, observation: Mapping[str, np.ndarray], instruction: str) -> PolicyInputs:
        """The inputs for one observation, which is not changed.

        Raises:
            UserError: the observation lacks a key or has an image of another form, the
                instruction is empty, or the statistics do not fit the robot's state.
        """
        if not instruction.strip():
            raise UserError("the instruction is empty; say what the robot should do")
        images = [self.images(self._image(observation, camera)) for camera in self.cameras]
        prompt = prompt_of(instruction)
        return PolicyInputs(
            images=np.stack(images),
            proprio=self._proprio(observation),
            token_ids=self.tokenizer(prompt),
            prompt=prompt,
        )

    def unnormalise(self, actions: Float[np.ndarray, "*batch A"]) -> Float[np.ndarray, "*batch A"]:
        """Actions in the units of the data the policy was trained on, float32."""
        return unnormalise_actions(actions, self.statistics.action)

    def _image(
        self, observation: Mapping[str, np.ndarray], camera: str
    ) -> UInt8[np.ndarray, "height width 3"]:
        image = np.asarray(_entry(observation, camera))
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise UserError(
                f"observation {camera!r} must be uint8 [H, W, 3], not {image.dtype} {image.shape}"
            )
        return image

    def _proprio(self, observation: Mapping[str, np.ndarray]) -> Float[np.ndarray, "P"]:
        if not self.takes_proprio:
            return np.zeros(0, np.float32)
        for key in ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"):
            _entry(observation, key)
        proprio = read_proprio(observation)
        bounds = self.statistics.proprio
        if bounds is None or len(bounds) != len(proprio):
            raise UserError(
                f"the statistics of {self.statistics.key!r} describe "
                f"{0 if bounds is None else len(bounds)} proprio dimensions; the observation has "
                f"{len(proprio)}"
            )
        return normalise_proprio(proprio, bounds)


def _entry(observation: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    if key not in observation:
        raise UserError(f"the observation has no {key!r}; it has: {', '.join(sorted(observation))}")
    return observation[key]
