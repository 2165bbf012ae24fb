"""Collision geometry as oriented boxes: distances to points, and heights to clear on a path."""

import mujoco
import numpy as np

_TANGENT = 1e-9


class CollisionBoxes:
    """Oriented bounding boxes of some of a scene's collision geoms.

    Attributes:
      geoms: int [G], geom ids, grouped by body.
      half: float64 [G, 3], half sizes (m), in the geom's frame.
    """

    def __init__(self, model: mujoco.MjModel, geoms: np.ndarray):
        order = np.argsort(model.geom_bodyid[geoms], kind="stable")
        self.geoms = np.asarray(geoms)[order]
        self._offset = model.geom_aabb[self.geoms, :3].copy()
        self.half = model.geom_aabb[self.geoms, 3:].copy()
        self._size = np.linalg.norm(self.half, axis=1)
        bodies = model.geom_bodyid[self.geoms]
        self._body_starts = np.flatnonzero(np.r_[True, bodies[1:] != bodies[:-1]])

    def poses(self, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray]:
        """Centres float64 [G, 3] (m) and rotations [G, 3, 3] in the world frame."""
        rotations = data.geom_xmat[self.geoms].reshape(-1, 3, 3)
        centres = data.geom_xpos[self.geoms] + np.einsum("gij,gj->gi", rotations, self._offset)
        return centres, rotations

    def bounds(self, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper corners of the axis-aligned box of each geom, float64 [G, 3] (m)."""
        centres, rotations = self.poses(data)
        reach = np.einsum("gij,gj->gi", np.abs(rotations), self.half)
        return centres - reach, centres + reach

    def body_bounds(self, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray]:
        """The same for each body that has such geoms, float64 [O, 3] (m)."""
        low, high = self.bounds(data)
        return (
            np.minimum.reduceat(low, self._body_starts),
            np.maximum.reduceat(high, self._body_starts),
        )

    def clearance(
        self, data: mujoco.MjData, points: np.ndarray, near: np.ndarray, reach: float
    ) -> np.ndarray:
        """Distance from points to the closest box.

        Args:
          points: float64 [..., 3], world frame (m).
          near, reach: only boxes within `reach` (m) of the point `near` [3] count.

        Returns:
          float64 [...] (m), at most `reach`; 0 inside a box.
        """
        centres, rotations = self.poses(data)
        close = np.linalg.norm(centres - near, axis=1) - self._size < reach
        if not close.any():
            return np.full(points.shape[:-1], reach)
        half, turns = self.half[close], rotations[close]
        # One matrix product for all points and boxes: [N, 3] by [3, 3G].
        local = points.reshape(-1, 3) @ turns.transpose(1, 0, 2).reshape(3, -1)
        local -= np.einsum("gi,gij->gj", centres[close], turns).ravel()
        gaps = np.maximum(np.abs(local) - half.ravel(), 0.0).reshape(-1, len(half), 3)
        squares = np.einsum("ngi,ngi->ng", gaps, gaps)
        return np.minimum(np.sqrt(squares.min(1)), reach).reshape(points.shape[:-1])


def height_to_clear(
    low: np.ndarray,
    high: np.ndarray,
    start: np.ndarray,
    goal: np.ndarray,
    width: float,
    slope: float = 1.0,
) -> float:
    """Height at `start` from which a straight walk to `goal` passes over every obstacle.

    An obstacle further along the path asks for less height now: it may be climbed on the way. One
    that reaches over the goal is left to the final descent, and one that is only beside the start
    and left behind asks for nothing.

    Args:
      low, high: float64 [O, 3], axis-aligned boxes of the obstacles (m).
      start, goal: float64 [2], horizontal (m).
      width: how far aside of the path obstacles count (m).
      slope: climb per horizontal way.

    Returns:
      The height (m), minus infinity if nothing is in the way.
    """
    step = goal - start
    distance = float(np.linalg.norm(step))
    if distance < 1e-6:
        return -np.inf
    direction = np.where(np.abs(step) < _TANGENT, _TANGENT, step) / distance
    wide_low, wide_high = low[:, :2] - width, high[:, :2] + width
    first, second = (wide_low - start) / direction, (wide_high - start) / direction
    enter = np.minimum(first, second).max(1)
    leave = np.maximum(first, second).min(1)
    inside = (enter < 0) & (leave > 0)
    over_start = ((low[:, :2] < start) & (start < high[:, :2])).all(1)
    left_behind = inside & ~over_start & (((low + high)[:, :2] / 2 - start) @ direction < 0)
    in_way = (enter < leave) & (leave > 0) & (enter < distance) & ~left_behind
    in_way &= ~((wide_low < goal) & (goal < wide_high)).all(1)
    if not in_way.any():
        return -np.inf
    return float((high[in_way, 2] - slope * np.maximum(enter[in_way], 0.0)).max())
