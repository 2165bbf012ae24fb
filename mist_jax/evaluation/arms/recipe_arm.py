"""An arm by numbers: what pushes, when, how much is taken away and how much motion is kept."""

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS
from mist_jax.evaluation.arms.row import RunNumbers
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.episode_spec import Turn

GRIPPER = ACTION_DIMENSIONS.index("gripper")
# Below every probability and above risk that is unread: the gate opens where an alarm could first
# open it, after the layer that risk is read at. -inf would open it from the first layer on.
WHEN_READ = -1.0


@dataclass(frozen=True)
class Recipe:
    """What an arm does.

    Attributes:
        push: which directions: none, the bank's, or the bank turned by a random rotation, which
            keeps every norm and every angle between directions.
        when: the push's gate: at a signed motion's alarm, always, or at random times.
        shrink: part of the residual stream that is taken away at an alarm of any motion.
        keep: factor on translation and rotation at an alarm of any motion.
    """

    push: Literal["nothing", "bank", "random"] = "nothing"
    when: Literal["alarm", "always", "random"] = "alarm"
    shrink: float = 0.0
    keep: float = 1.0


@dataclass(frozen=True)
class RecipeArm:
    """A recipe with the numbers of a run; an `Arm` of `mist_jax.rollout.arm`.

    Of a bank's two directions of a dimension, "x+" (moving along +x was harmful) or "x-", an alarm
    opens the one whose own signed motion is in danger, and random times draw each at its own rate.
    Where a push is always on there is nothing to tell them apart but the present motion: the one
    whose sign the mean action of the last chunk has. What this query will command is not known
    before the forward that steering acts in, so an episode's first query is then left alone.
    """

    recipe: Recipe
    name: str
    numbers: RunNumbers

    @property
    def shrink(self) -> float:
        """Part of the residual stream that an alarm takes away."""
        return self.recipe.shrink

    @property
    def threshold(self) -> np.ndarray:
        """Float32 [M]; without alarms coefficients alone say when, at the layers of an alarm."""
        if self.recipe.when == "alarm":
            return self.numbers.alarm_threshold
        return np.full(len(SIGNED_MOTIONS), WHEN_READ, np.float32)

    def coefficient(self, turn: Turn, query: int) -> np.ndarray:
        """Float32 [V]: the bank's directions, then each rotation's; one block is used."""
        bank, rate = self.numbers.bank, self.numbers.gate_rate
        strength = np.zeros(self.numbers.directions, np.float32)
        if bank is None or self.recipe.push == "nothing":
            return strength
        pushes = np.full(len(bank.names), self.numbers.coefficient, np.float32)
        if self.recipe.when == "random":
            drawn = np.random.default_rng([_number(turn.key), query]).random(len(rate))
            pushes *= np.asarray(bank.gates) @ (drawn < rate) > 0
        elif self.recipe.when == "always":
            if turn.motion is None:
                return strength
            pushes = bank.against(turn.motion[None], self.numbers.coefficient)[0]
        block = 0
        if self.recipe.push == "random":
            block = 1 + _number(turn.key) % self.numbers.rotations
        first = block * len(pushes)
        strength[first : first + len(pushes)] = pushes
        return strength

    def edit(
        self, actions: np.ndarray, risk: np.ndarray, turn: Turn, rng: np.random.Generator
    ) -> np.ndarray:
        """Scales translation and rotation while any motion's risk is above its threshold."""
        if self.recipe.keep == 1.0 or not (risk > self.numbers.alarm_threshold).any():
            return actions
        edited = actions.copy()
        edited[:, :GRIPPER] *= self.recipe.keep
        return edited


def _number(key: EpisodeKey) -> int:
    """The same for all arms of a pair."""
    scene = f"{key.suite}/{key.task_id}/{key.initial_state}/{key.seed}"
    return zlib.crc32(scene.encode())
