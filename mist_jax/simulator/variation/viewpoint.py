"""A camera moved on a sphere about what it looks at."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

# By level: largest azimuth and elevation (degrees), relative change of the distance, and turn of
# the camera about itself (degrees).
RANGES = (
    (5.0, 3.0, 0.03, 1.0),
    (10.0, 6.0, 0.06, 2.0),
    (20.0, 9.0, 0.10, 3.0),
    (30.0, 12.0, 0.15, 4.0),
    (45.0, 15.0, 0.25, 5.0),
)


@dataclass(frozen=True)
class Viewpoint:
    """Where a camera is moved to.

    Attributes:
      azimuth: about the vertical through the point that it looks at, counter-clockwise from above
        (degrees).
      elevation: upwards on the sphere about that point (degrees).
      distance: from that point, as a multiple of the usual one.
      pan, tilt: of the camera about itself, then: to the left, and upwards (degrees).
    """

    azimuth: float
    elevation: float
    distance: float
    pan: float
    tilt: float

    def __str__(self) -> str:
        return (
            f"azimuth {self.azimuth:+.1f}, elevation {self.elevation:+.1f}, distance x"
            f"{self.distance:.2f}, pan {self.pan:+.1f}, tilt {self.tilt:+.1f}"
        )


def draw_viewpoint(level: int, rng: np.random.Generator) -> Viewpoint:
    """A viewpoint of a level: at least one part is at half of its range or beyond it.

    The draws do not depend on the level, so a scene's viewpoints of two levels lie on one side.
    """
    azimuth, elevation, distance, turn = RANGES[level - 1]
    part = rng.uniform(-1.0, 1.0, size=5)
    part *= rng.uniform(0.5, 1.0) / np.abs(part).max()
    return Viewpoint(
        azimuth=float(azimuth * part[0]),
        elevation=float(elevation * part[1]),
        distance=float(1.0 + distance * part[2]),
        pan=float(turn * part[3]),
        tilt=float(turn * part[4]),
    )


def moved_camera(
    position: Float[np.ndarray, "3"],
    quaternion: Float[np.ndarray, "4"],
    ground: float,
    viewpoint: Viewpoint,
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "4"]]:
    """The pose of a camera that is fixed in the world, moved.

    Args:
      position, quaternion: its usual pose: m, world frame, wxyz; it looks along its -z.
      ground: height of the surface on which it looks (m).
      viewpoint: where to.

    Returns:
      Position and quaternion.
    """
    usual = Rotation.from_quat(quaternion, scalar_first=True)
    forward = usual.apply([0.0, 0.0, -1.0])
    # A camera that does not look down turns about a point 1 m ahead.
    reach = (ground - position[2]) / forward[2] if forward[2] < -0.05 else 1.0
    focus = position + reach * forward
    about = Rotation.from_rotvec(math.radians(viewpoint.azimuth) * np.array([0.0, 0.0, 1.0]))
    right = (about * usual).apply([1.0, 0.0, 0.0])
    up = Rotation.from_rotvec(-math.radians(viewpoint.elevation) * right)
    turn = up * about
    itself = Rotation.from_euler("YX", [viewpoint.pan, viewpoint.tilt], degrees=True)
    moved = focus + viewpoint.distance * turn.apply(position - focus)
    return moved, (turn * usual * itself).as_quat(scalar_first=True)
