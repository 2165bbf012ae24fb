"""The small changes of a chunk that the branches of a fork try."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from mist_jax.action_units import to_units
from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.signed import DIMENSION, SIGN

ZERO, BACK = "0", "back"
STILL = 1e-3  # action units; a slower motion has no direction to go back in
_XYZ = slice(0, 3)


@dataclass(frozen=True)
class OffsetSet:
    """Which offsets: none, every translation one way (and rotation, where `radians` is above 0),
    and `back`, which is against the chunk's own mean translation.

    An offset is added to every action of a chunk, in action units, before the clip to [-1, 1].
    `metres` and `radians` are what it commands over a whole chunk of `chunk` control steps;
    `queries` is for how many queries it acts, from the fork's on.
    """

    metres: float
    radians: float = 0.0
    queries: int = 1
    chunk: int = 8

    def __post_init__(self):
        if not self.metres > 0 or self.radians < 0:
            raise UserError(
                f"an offset of {self.metres:g} m and {self.radians:g} rad: the first is above 0, "
                "the second 0 or more"
            )
        largest = float(np.abs(self.size).max())
        if largest > 1:
            raise UserError(
                f"an offset of {self.metres:g} m and {self.radians:g} rad over {self.chunk} steps "
                f"is {largest:.2f} action units a step, and the most is 1: make it smaller"
            )
        if self.queries < 1:
            raise UserError(f"an offset acts for {self.queries} queries: give 1 or more")

    @property
    def size(self) -> Float[np.ndarray, "A"]:
        """Action units per control step, float32; 0 for the gripper."""
        return to_units(self.metres, self.radians, self.chunk)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all offsets: "0", "x+", "x-", ..., "back"."""
        motions = zip(SIGNED_MOTIONS, self.size[DIMENSION], strict=True)
        return (ZERO, *(name for name, size in motions if size > 0), BACK)

    def change(self, name: str, own: Float[np.ndarray, "C A"]) -> Float[np.ndarray, "A"] | None:
        """Action units per control step, float32; None where a chunk that stands still goes back.

        `own` is the chunk that the policy executes at the fork by itself, or what there is of it.

        Raises:
            UserError: there is no such offset.
        """
        if name not in self.names:
            raise UserError(f"no offset {name!r}: there are {', '.join(self.names)}")
        change = np.zeros(len(ACTION_DIMENSIONS), np.float32)
        if name == BACK:
            motion = own[:, _XYZ].mean(axis=0)
            speed = float(np.linalg.norm(motion))
            if speed < STILL:
                return None
            change[_XYZ] = -self.size[_XYZ] * motion / speed
        elif name != ZERO:
            motion = SIGNED_MOTIONS.index(name)
            change[DIMENSION[motion]] = SIGN[motion] * self.size[DIMENSION[motion]]
        return change

    def as_json(self) -> dict[str, Any]:
        """As a dataset's `setup` keeps it; `offsets` tells the fixed ones in action units."""
        still = np.zeros((1, len(ACTION_DIMENSIONS)), np.float32)
        fixed = {name: self.change(name, still) for name in self.names if name != BACK}
        return {
            "offset_metres": self.metres,
            "offset_radians": self.radians,
            "branch_queries": self.queries,
            "offsets": {
                name: change.tolist() for name, change in fixed.items() if change is not None
            },
        }
