"""How near to the arm's way an obstacle stands: what makes a cluttered suite hard."""

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Corridor:
    """Distances from the axis of the arm's way to the obstacle's surface.

    The way is that of a policy which knows no obstacles: straight from the gripper's start to the
    object, and straight from there to the goal.

    Attributes:
      nearest, farthest: bounds of the distance, drawn uniformly (m).
      carrying: probability of a place beside the second part; else beside the end of the first.
    """

    nearest: float
    farthest: float
    carrying: float = 0.6

    def wider(self, by: float) -> "Corridor":
        """With the farther bound moved out (m)."""
        return dataclasses.replace(self, farthest=self.farthest + by)
