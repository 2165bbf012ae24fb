"""How far an action went from one run's to another's."""

from dataclasses import dataclass

import numpy as np

from mist_jax.errors import UserError
from mist_jax.policy.preprocessing.gripper import GRIPPER_SLOPE

_SMALLEST = 1e-6  # executed action units; below it two runs give the same actions


@dataclass(frozen=True)
class ActionGap:
    """What a donor's chunk is beside a recipient's; float32 [B, C, A] both.

    In executed action units a control step, before the clip and before the gripper's is made
    binary, as in `Policy.jacobian`: a change of 1 is 5 cm, 0.5 rad, or half of opening to closing.
    """

    recipient: np.ndarray
    donor: np.ndarray

    @classmethod
    def between(cls, recipient: np.ndarray, donor: np.ndarray) -> "ActionGap":
        """From `raw_actions` of two predictions.

        Raises:
            UserError: the two of a pair give the same actions.
        """
        gap = cls(executed(recipient), executed(donor))
        same = np.flatnonzero(np.sqrt(gap.square) < _SMALLEST)
        if same.size:
            raise UserError(f"the runs of pair {same[0]} give the same actions: no gap to close")
        return gap

    @property
    def difference(self) -> np.ndarray:
        """Float32 [B, C, A]: donor minus recipient."""
        return self.donor - self.recipient

    @property
    def square(self) -> np.ndarray:
        """Float32 [B]: the squared length of the difference over the whole chunk."""
        return (self.difference**2).sum((-2, -1))

    def closed(self, actions: np.ndarray) -> np.ndarray:
        """Share of the gap that `actions` [..., B, C, A], executed units, close: float32 [..., B].

        <a - recipient, donor - recipient> / |donor - recipient|^2: 0 for the recipient's actions, 1
        for the donor's; less than 0 where they go the other way. What goes sideways does not count.
        """
        along = ((actions - self.recipient) * self.difference).sum((-2, -1))
        return (along / self.square).astype(np.float32)


def executed(raw: np.ndarray) -> np.ndarray:
    """Raw actions [..., A] in executed units but for the offset of the gripper's, float32."""
    turned = np.array(raw, np.float32)
    turned[..., -1] *= GRIPPER_SLOPE
    return turned
