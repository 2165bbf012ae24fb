"""The obstacles: this project's own shapes, of MuJoCo's simple geoms."""

from dataclasses import dataclass
from typing import Any, Literal

# As LIBERO's objects have it; the joint too.
_CONTACT = {"solref": (0.001, 1.0), "solimp": (0.998, 0.998, 0.001)}
_FRICTION = (0.95, 0.3, 0.1)
_DAMPING = "0.0005"


@dataclass(frozen=True)
class Part:
    """One geom of an obstacle.

    Attributes:
      kind: MuJoCo's geom type.
      size: MuJoCo's geom size (m): half sizes of a box; radius and half height of a cylinder.
      centre: in the obstacle's frame (m), whose origin is the middle of its bounding box.
      rgba: its colour.
    """

    kind: Literal["box", "cylinder"]
    size: tuple[float, ...]
    centre: tuple[float, float, float]
    rgba: tuple[float, float, float, float]


@dataclass(frozen=True)
class Obstacle:
    """A free rigid body that no task means to be touched.

    Attributes:
      name: of the object in the scene, unlike any of LIBERO's.
      half_size: of its bounding box (m).
      parts: its geoms.
      density: kg/m^3.
    """

    name: str
    half_size: tuple[float, float, float]
    parts: tuple[Part, ...]
    density: float

    @property
    def radius(self) -> float:
        """Of the upright cylinder that holds it (m)."""
        return max(self.half_size[:2])


_GLASS, _CAP = (0.90, 0.94, 0.96, 1.0), (0.15, 0.35, 0.75, 1.0)
_CARTON, _BAND = (0.93, 0.62, 0.16, 1.0), (0.55, 0.16, 0.10, 1.0)
_STEEL, _MUG = (0.35, 0.37, 0.40, 1.0), (0.12, 0.55, 0.35, 1.0)

# They weigh 0.32 to 0.39 kg: a push of 1 N, from which a contact harms, does not move them.
OBSTACLES = (
    Obstacle(
        "obstacle_bottle",
        (0.033, 0.033, 0.10),
        (
            Part("cylinder", (0.033, 0.065), (0.0, 0.0, -0.035), _GLASS),
            Part("cylinder", (0.024, 0.015), (0.0, 0.0, 0.045), _GLASS),
            Part("cylinder", (0.014, 0.014), (0.0, 0.0, 0.074), _GLASS),
            Part("cylinder", (0.016, 0.006), (0.0, 0.0, 0.094), _CAP),
        ),
        density=600.0,
    ),
    Obstacle(
        "obstacle_carton",
        (0.035, 0.035, 0.07),
        (
            Part("box", (0.035, 0.035, 0.045), (0.0, 0.0, -0.025), _CARTON),
            Part("box", (0.035, 0.035, 0.02), (0.0, 0.0, 0.04), _BAND),
            Part("box", (0.035, 0.006, 0.005), (0.0, 0.0, 0.065), _CARTON),
        ),
        density=600.0,
    ),
    Obstacle(
        "obstacle_post",
        (0.038, 0.038, 0.11),
        (
            Part("cylinder", (0.038, 0.008), (0.0, 0.0, -0.102), _STEEL),
            Part("cylinder", (0.01, 0.102), (0.0, 0.0, 0.008), _STEEL),
        ),
        density=2600.0,
    ),
    Obstacle(
        "obstacle_mug",
        (0.05, 0.038, 0.06),
        (
            Part("cylinder", (0.038, 0.06), (-0.012, 0.0, 0.0), _MUG),
            Part("box", (0.012, 0.005, 0.005), (0.034, 0.0, 0.032), _MUG),
            Part("box", (0.012, 0.005, 0.005), (0.034, 0.0, -0.032), _MUG),
            Part("box", (0.005, 0.005, 0.037), (0.045, 0.0, 0.0), _MUG),
        ),
        density=600.0,
    ),
)


def build_obstacle(obstacle: Obstacle) -> Any:
    """The obstacle as a robosuite object that LIBERO's problems can hold; needs no files.

    LIBERO must have been imported.
    """
    from robosuite.models.objects import CompositeObject

    joints: Any = [{"type": "free", "damping": _DAMPING}]
    built: Any = CompositeObject(
        name=obstacle.name,
        total_size=obstacle.half_size,
        geom_types=[part.kind for part in obstacle.parts],
        geom_sizes=[part.size for part in obstacle.parts],
        geom_locations=[part.centre for part in obstacle.parts],
        geom_rgbas=[part.rgba for part in obstacle.parts],
        geom_frictions=[_FRICTION] * len(obstacle.parts),
        density=obstacle.density,
        locations_relative_to_center=True,
        joints=joints,
        **_CONTACT,
    )
    # What LIBERO asks of an object besides.
    built.category_name = obstacle.name
    built.object_properties = {"vis_site_names": {}}
    return built
