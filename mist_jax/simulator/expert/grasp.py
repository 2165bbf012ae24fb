"""Where to take an object from above: the rim of a bowl, or across a solid body."""

from dataclasses import dataclass

import mujoco
import numpy as np

from mist_jax.simulator.expert.obstacles import CollisionBoxes

# The Panda gripper in the frame of its grip site, fingers open: offset along the finger axis,
# height above the site, radius (m).
_GRIPPER_SPHERES = np.array(
    [
        (sign * along, height, radius)
        for sign in (-1.0, 1.0)
        for along, height, radius in (
            (0.022, 0.0, 0.008),
            (0.046, -0.002, 0.010),
            (0.052, 0.022, 0.014),
            (0.030, 0.075, 0.035),
            (0.090, 0.075, 0.035),
        )
    ]
)
# Half of the opening that can be used, less a margin.
MAX_WIDTH = 0.070
_RIM_DEPTH = 0.010
_INWARD = 0.008
_SOLID_DEPTH = 0.022
# Fingertips hang 11 mm below the site.
_MIN_HEIGHT = 0.017
_CLEARANCE = 0.015
# From the robot's base to its shoulder, from the grip site to the wrist (up, and back towards the
# base), and how far from the shoulder the wrist goes well (m): at 0.68 the straight elbow stalls.
_SHOULDER_HEIGHT = 0.333
_WRIST_HEIGHT, _WRIST_BACK = 0.204, 0.088
_REACH = 0.65
_RIM_YAWS = np.deg2rad([0, 30, -30, 60, -60, 90])
_SOLID_YAWS = np.deg2rad([0, 15, -15, 30, -30, 45, -45, 60, -60, 75, -75, 90])
# Points [K, 3], yaws [K], costs [K], and the way from the point to the rim [K, 3].
_Candidates = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
_UPRIGHT = np.cos(np.deg2rad(45))


@dataclass(frozen=True)
class Grasp:
    """One way to take the object.

    Attributes:
      point: float64 [3], where the grip site goes, world frame (m).
      yaw: turn of the gripper about the vertical from its canonical pose, in which it points
        down and its fingers move along the world's y axis (rad).
    """

    point: np.ndarray
    yaw: float


class GraspPlanner:
    """Chooses the cheapest grasp of one object, from the present state alone.

    The canonical grasp (no turn of the wrist; for a bowl, the rim on the side of smaller y) costs
    least. Turns, the other side and too little room for the open gripper cost more, and so does
    leaving a grasp that the gripper already is at.
    """

    def __init__(
        self, model: mujoco.MjModel, body: int, boxes: CollisionBoxes, obstacles: CollisionBoxes
    ):
        self._body = body
        self._shoulder = model.body("robot0_base").pos + np.array([0.0, 0.0, _SHOULDER_HEIGHT])
        self._boxes = boxes
        self._obstacles = obstacles
        corners = _corners(boxes.half)
        rotation = np.empty((len(boxes.geoms), 9))
        for row, geom in enumerate(boxes.geoms):
            mujoco.mju_quat2Mat(rotation[row], model.geom_quat[geom])
        corners = np.einsum("gij,gcj->gci", rotation.reshape(-1, 3, 3), corners)
        corners = (corners + model.geom_pos[boxes.geoms][:, None]).reshape(-1, 3)
        self._rim_height = corners[:, 2].max()
        rim = corners[corners[:, 2] > self._rim_height - 0.004]
        self._rim_radius = float(np.linalg.norm(rim[:, :2], axis=1).mean())
        extent = np.ptp(corners, axis=0)
        self.has_rim = bool(extent[0] > MAX_WIDTH and extent[1] > MAX_WIDTH)

    def plan(
        self,
        data: mujoco.MjData,
        grip: np.ndarray,
        opening: float,
        goal: np.ndarray,
        floor: float,
    ) -> Grasp:
        """The grasp to go for.

        Args:
          grip: float64 [3], the grip site (m).
          opening: of the gripper (m).
          goal: float64 [3], where the object is to go, at the height of the grip site then (m).
          floor: height of what the fingertips must not touch (m).
        """
        upright = data.xmat[self._body][8] > _UPRIGHT
        points, yaws, costs, outward = (
            self._rim(data) if self.has_rim and upright else self._across(data)
        )
        points[:, 2] = np.maximum(points[:, 2], floor + _MIN_HEIGHT)
        centre = data.xpos[self._body]
        axes = np.stack([-np.sin(yaws), np.cos(yaws), np.zeros_like(yaws)], axis=1)
        spheres = points[:, None] + axes[:, None] * _GRIPPER_SPHERES[:, :1]
        spheres[..., 2] += _GRIPPER_SPHERES[:, 1]
        room = self._obstacles.clearance(data, spheres, centre, 0.2) - _GRIPPER_SPHERES[:, 2]
        shortage = np.maximum(_CLEARANCE - room.min(1), 0.0)
        there = np.column_stack(
            [points[:, :2] + (goal[:2] - centre[:2]), np.full(len(points), goal[2])]
        )
        far = np.maximum(self._stretch(points), self._stretch(there))
        costs = costs + np.maximum(far - _REACH, 0.0) / 0.012
        away = np.linalg.norm(points - grip, axis=1)
        costs = costs + shortage / 0.004 + np.abs(yaws) + 1.2 * np.minimum(away / 0.04, 1.0)
        best = int(costs.argmin())
        point = points[best]
        # Inside a bowl the open finger has room to spare, outside it may not; closed, the pads
        # meet at the rim.
        share = min(max((opening - 0.01) / 0.06, 0.0), 1.0)
        point = point + (1.0 - share) * outward[best]
        return Grasp(point=point, yaw=float(yaws[best]))

    def _stretch(self, points: np.ndarray) -> np.ndarray:
        """Distance from shoulder to wrist with the grip site at points [..., 3] (m)."""
        offset = points - self._shoulder
        flat = np.hypot(offset[..., 0], offset[..., 1]) - _WRIST_BACK
        return np.hypot(flat, offset[..., 2] + _WRIST_HEIGHT)

    def _rim(self, data: mujoco.MjData) -> _Candidates:
        yaws = np.concatenate([_RIM_YAWS, _RIM_YAWS])
        side = np.repeat([-1.0, 1.0], len(_RIM_YAWS))
        outward = np.stack([-np.sin(yaws), np.cos(yaws), np.zeros_like(yaws)], axis=1)
        rotation = data.xmat[self._body].reshape(3, 3)
        local = (outward * side[:, None]) @ rotation
        local = local[:, :2] / np.linalg.norm(local[:, :2], axis=1, keepdims=True)
        rim = np.column_stack([self._rim_radius * local, np.full(len(yaws), self._rim_height)])
        points = data.xpos[self._body] + rim @ rotation.T
        points[:, 2] -= _RIM_DEPTH
        outward *= _INWARD * side[:, None]
        return points - outward, yaws, 0.3 * (side > 0), outward

    def _across(self, data: mujoco.MjData) -> _Candidates:
        centres, rotations = self._boxes.poses(data)
        corners = centres[:, None] + np.einsum(
            "gij,gcj->gci", rotations, _corners(self._boxes.half)
        )
        corners = corners.reshape(-1, 3)
        axes = np.stack([-np.sin(_SOLID_YAWS), np.cos(_SOLID_YAWS)], axis=1)
        along = corners[:, :2] @ axes.T
        excess = np.maximum(np.ptp(along, axis=0) - MAX_WIDTH, 0.0)
        middle = (corners.min(0) + corners.max(0)) / 2
        middle[2] = corners[:, 2].max() - _SOLID_DEPTH
        points = np.repeat(middle[None], len(_SOLID_YAWS), axis=0)
        return points, _SOLID_YAWS, excess / 0.003, np.zeros_like(points)


def _corners(half: np.ndarray) -> np.ndarray:
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    return half[:, None] * signs
