"""Which object the gripper holds, told from finger contacts substep by substep."""

import numpy as np
from jaxtyping import Bool, Float, Int

# A hold begins after 10 ms of it and ends after 50 ms without: a carried bowl leaves one finger
# for up to a control step.
SUBSTEPS_TO_HOLD = 5
SUBSTEPS_TO_LOSE = 25
# Fingers that both press down on a rim push the same way; those that hold, against each other.
_MAX_COSINE = -0.5


class HeldObject:
    """Follows the held object through physics substeps.

    An object is squeezed in a substep if both fingers touch it and their net normal forces
    point against each other (cosine at most -0.5). It counts as held from the fifth substep in a
    row in which it is squeezed until the 25th in a row in which one finger or the other
    does not touch it. Only one object is held at a time.
    """

    def __init__(self):
        self.index = -1
        self._candidate = -1
        self._run = 0
        self._missing = 0

    def keep(self, both_touch: bool) -> None:
        """A substep with an object held: whether both fingers touch it."""
        self._missing = 0 if both_touch else self._missing + 1
        if self._missing >= SUBSTEPS_TO_LOSE:
            self.index, self._candidate = -1, -1

    def nothing_to_hold(self) -> None:
        """A substep without a held object in which at most one finger touches any."""
        self._candidate = -1

    def look_for(
        self,
        objects: Int[np.ndarray, "contacts"],
        first: Bool[np.ndarray, "contacts"],
        forces: Float[np.ndarray, "contacts 3"],
    ) -> None:
        """A substep without a held object in which both fingers touch some.

        Args:
          objects: index of the object that a finger touches, per contact.
          first: whether it is the first finger; otherwise the second.
          forces: normal force on the finger (N), world frame.
        """
        squeezed = _squeezed(objects, first, forces)
        self._run = self._run + 1 if squeezed == self._candidate else 1
        self._candidate = squeezed
        if squeezed >= 0 and self._run >= SUBSTEPS_TO_HOLD:
            self.index, self._missing = squeezed, 0


def _squeezed(objects: np.ndarray, first: np.ndarray, forces: np.ndarray) -> int:
    for index in set(objects[first].tolist()) & set(objects[~first].tolist()):
        mine = objects == index
        one = forces[mine & first].sum(axis=0)
        other = forces[mine & ~first].sum(axis=0)
        if one @ other < _MAX_COSINE * np.linalg.norm(one) * np.linalg.norm(other):
            return int(index)
    return -1
