"""What a scene's variation is, drawn: a function of the scene alone."""

import hashlib
from dataclasses import dataclass

import numpy as np

from mist_jax.simulator.variation.image_noise import ImageNoise, draw_noise
from mist_jax.simulator.variation.layout import LAYOUTS
from mist_jax.simulator.variation.levels import Variation
from mist_jax.simulator.variation.paraphrase import paraphrase
from mist_jax.simulator.variation.start_pose import RADII
from mist_jax.simulator.variation.viewpoint import Viewpoint, draw_viewpoint


@dataclass(frozen=True)
class VariedScene:
    """A variation, drawn for one scene.

    Attributes:
      variation: of which this is a draw.
      name: what it is drawn from: plain suite, task, initial state and seed.
      instruction: the task's, in the words of this scene.
      viewpoint: of the agentview camera; None: as usual.
      noise: of the agentview pictures; None: as rendered.
    """

    variation: Variation
    name: str
    instruction: str
    viewpoint: Viewpoint | None = None
    noise: ImageNoise | None = None

    @classmethod
    def draw(
        cls,
        variation: Variation,
        *,
        suite: str,
        task_id: int,
        instruction: str,
        initial_state: int,
        seed: int,
    ) -> "VariedScene":
        """The draw of a scene: alike for all arms, and in every process.

        Each axis has draws of its own, so what else is varied does not matter.

        Args:
          variation: what to draw.
          suite: the plain suite's name.
          task_id, initial_state, seed: of the scene.
          instruction: the task's, as the suite has it.
        """
        name = f"{suite}/{task_id}/{initial_state}/{seed}"
        viewpoint = noise = None
        if variation.camera:
            viewpoint = draw_viewpoint(variation.camera, _rng("camera", name))
        if variation.noise:
            noise = draw_noise(variation.noise, _rng("noise", name))
        if variation.language:
            instruction = paraphrase(instruction, variation.language, _rng("language", name))
        return cls(variation, name, instruction, viewpoint, noise)

    def rng(self, axis: str) -> np.random.Generator:
        """A new generator of an axis' draws."""
        return _rng(axis, self.name)

    def __str__(self) -> str:
        """What an episode keeps of it: `none`, or each axis with its level and what was drawn."""
        levels = self.variation
        parts = {
            f"camera{levels.camera}": str(self.viewpoint) if self.viewpoint else "",
            f"robot{levels.robot}": f"{RADII[levels.robot - 1]:g} rad" if levels.robot else "",
            f"noise{levels.noise}": str(self.noise) if self.noise else "",
            f"language{levels.language}": "other words" if levels.language else "",
            f"layout{levels.layout}": str(LAYOUTS[levels.layout - 1]) if levels.layout else "",
        }
        return "; ".join(f"{name} ({what})" for name, what in parts.items() if what) or "none"


def _rng(axis: str, name: str) -> np.random.Generator:
    return np.random.default_rng(list(hashlib.sha256(f"{axis}/{name}".encode()).digest()))
