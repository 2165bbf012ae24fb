"""Arms without a wanted change: at an alarm the motion, or the residual stream, is scaled down."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.evaluation.arms.listening import Listening
from mist_jax.evaluation.arms.row import ArmRow
from mist_jax.rollout.acting.arm import Said
from mist_jax.rollout.acting.release import Release
from mist_jax.rollout.episode_spec import Turn

GRIPPER = ACTION_DIMENSIONS.index("gripper")
RELEASE = 3  # queries in a row after which a stop lets go, until the alarm has fallen
UP = np.array([0, 0, 0.3, 0, 0, 0], np.float32)  # of a lift: 1.5 cm a control step


@dataclass(frozen=True)
class Brake(Listening):
    """Scales the motion, adds to it, or shrinks the residual stream while any motion alarms.

    Attributes:
        keep: factor on translation and rotation.
        add: float32 [6], added to what was kept.
        shrink_by: part of the residual stream that is taken away, at the layers after the alarm.
        at_most: alarms in a row after which it lets go; 0: never.
    """

    keep: float = 1.0
    add: np.ndarray | None = None
    shrink_by: float = 0.0
    at_most: int = 0

    @property
    def shrink(self) -> float:
        """Part of the residual stream that an alarm takes away."""
        return self.shrink_by

    @property
    def release(self) -> Release:
        """After `at_most` alarms in a row."""
        return Release(self.at_most)

    def edit(
        self, actions: np.ndarray, said: Said, turn: Turn, rng: np.random.Generator
    ) -> np.ndarray:
        """Scales and moves translation and rotation; the gripper goes on."""
        if not said.alarms or said.released or (self.keep == 1.0 and self.add is None):
            return actions
        edited = actions.copy()
        edited[:, :GRIPPER] *= self.keep
        if self.add is not None:
            edited[:, :GRIPPER] += self.add
        return edited


SAFE_STOP = ArmRow(
    name="safe_stop",
    what=f"at an alarm the arm stands still for the chunk, {RELEASE} in a row at most",
    colour="#b45309",
    make=partial(Brake, keep=0.0, at_most=RELEASE),
    needs=("risk",),
)
SLOW_DOWN = ArmRow(
    name="slow_down",
    what="at an alarm translation and rotation are halved",
    colour="#d4a017",
    make=partial(Brake, keep=0.5),
    needs=("risk",),
)
LIFT = ArmRow(
    name="lift",
    what="at an alarm the arm goes straight up for the chunk",
    colour="#8c6d1f",
    make=partial(Brake, keep=0.0, add=UP),
    needs=("risk",),
)
SHRINK = ArmRow(
    name="shrink",
    what="at an alarm the residual stream is scaled by 0.9",
    colour="#7c5cbf",
    make=partial(Brake, shrink_by=0.1),
    needs=("risk",),
)
