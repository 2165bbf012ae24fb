"""From one observation and an instruction to the arrays of the compiled forward.

numpy only, and picklable: it runs in the simulator workers, before the policy's batch is formed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from mist_jax.errors import UserError
from mist_jax.policy.preprocessing.gripper import GRIPPER_SLOPE
from mist_jax.policy.preprocessing.images import ImagePreprocessing
from mist_jax.policy.preprocessing.prompt import prompt_of
from mist_jax.policy.preprocessing.proprio import PROPRIO, normalise_proprio, read_proprio
from mist_jax.policy.preprocessing.spec import PreprocessingSpec
from mist_jax.policy.preprocessing.statistics import (
    Statistics,
    action_scale,
    read_statistics,
    unnormalise_actions,
)
from mist_jax.policy.preprocessing.tokenizer import PromptTokenizer
from mist_jax.record.observation import Observation


@dataclass(frozen=True)
class PolicyInputs:
    """One example of a policy's batch, not yet padded.

    The images are not yet normalised: each tower does that with its own constants.
    """

    images: UInt8[np.ndarray, "I height width 3"]
    proprio: Float[np.ndarray, "proprio"]  # on [-1, 1]; empty where the model takes none
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

    @classmethod
    def of(
        cls,
        spec: PreprocessingSpec,
        statistics: Path | Mapping[str, Any],
        tokenizer: Path,
        *,
        unnorm_key: str | None = None,
    ) -> "Preprocessor":
        """What `spec` describes, with a checkpoint's own files.

        Args:
            spec: from the architecture's config.
            statistics: a `dataset_statistics.json`, as a path or its contents.
            tokenizer: a `tokenizer.json`.
            unnorm_key: which data set's statistics, where there are several.

        Raises:
            UserError: a file is missing or damaged, or there is no such data set.
        """
        return cls(
            images=ImagePreprocessing(
                image_size=spec.image_size,
                crop_side=spec.crop_side,
                jpeg_round_trip=spec.jpeg_round_trip,
                center_crop=spec.center_crop,
            ),
            cameras=spec.cameras,
            takes_proprio=spec.proprio_dim > 0,
            statistics=read_statistics(statistics, unnorm_key, spec.action_bounds),
            tokenizer=PromptTokenizer.load(tokenizer, terminator_id=spec.terminator_id),
        )

    def __call__(
        self, observation: Observation | Mapping[str, np.ndarray], instruction: str
    ) -> PolicyInputs:
        """The inputs for one observation (or LIBERO's dictionary of it), which is not changed.

        Raises:
            UserError: the observation lacks a part or has an image of another form, the
                instruction is empty, or the statistics do not fit the robot's state.
        """
        if isinstance(observation, Mapping):
            state = PROPRIO if self.takes_proprio else ()
            observation = Observation.from_libero(observation, (*self.cameras, *state))
        return self.inputs(observation.images, self._state(observation), instruction)

    def inputs(
        self,
        images: Mapping[str, np.ndarray],
        state: Float[np.ndarray, "proprio"],
        instruction: str,
    ) -> PolicyInputs:
        """The inputs of an observation whose state is told as `read_proprio` gives it.

        Args:
            images: by camera, uint8 [H, W, 3], as rendered: upside down.
            state: end-effector position (m), axis-angle (rad), both finger positions (m); not read
                where the policy takes none.
            instruction: what the robot should do.

        Raises:
            UserError: as of calling it on an observation.
        """
        if not instruction.strip():
            raise UserError("the instruction is empty; say what the robot should do")
        pictures = [self.images(self._image(images, camera)) for camera in self.cameras]
        prompt = prompt_of(instruction)
        return PolicyInputs(
            images=np.stack(pictures),
            proprio=self._proprio(state),
            token_ids=self.tokenizer(prompt),
            prompt=prompt,
        )

    def unnormalise(self, actions: Float[np.ndarray, "*batch A"]) -> Float[np.ndarray, "*batch A"]:
        """Actions in the units of the data the policy was trained on, float32."""
        return unnormalise_actions(actions, self.statistics.action)

    @property
    def executed_slope(self) -> Float[np.ndarray, "A"]:
        """Executed action units of one normalised unit; the gripper's before it is made binary."""
        slope = action_scale(self.statistics.action)
        slope[-1] *= GRIPPER_SLOPE
        return slope

    def _image(
        self, images: Mapping[str, np.ndarray], camera: str
    ) -> UInt8[np.ndarray, "height width 3"]:
        if camera not in images:
            raise UserError(
                f"the observation has no image of {camera!r}; it has: "
                f"{', '.join(sorted(images)) or 'none'}"
            )
        image = images[camera]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise UserError(
                f"the observation's image of {camera!r} must be uint8 [H, W, 3], not "
                f"{image.dtype} {image.shape}"
            )
        return image

    def _state(self, observation: Observation) -> Float[np.ndarray, "proprio"]:
        if not self.takes_proprio:
            return np.zeros(0)
        missing = [part for part in PROPRIO if not getattr(observation, part).size]
        if missing:
            raise UserError(f"the observation's {missing[0]} is empty; this policy takes it")
        return read_proprio(observation)

    def _proprio(self, state: Float[np.ndarray, "proprio"]) -> Float[np.ndarray, "proprio"]:
        if not self.takes_proprio:
            return np.zeros(0, np.float32)
        bounds = self.statistics.proprio
        if bounds is None or len(bounds) != len(state):
            raise UserError(
                f"the statistics of {self.statistics.key!r} describe "
                f"{0 if bounds is None else len(bounds)} proprio dimensions; the observation has "
                f"{len(state)}"
            )
        return normalise_proprio(state, bounds)
