"""The ten groceries of libero_object: cans, bottles, cartons and packets in their colours."""

from typing import NamedTuple

from mist_jax.simulator.lite.parts import grocery_boxes
from mist_jax.simulator.lite.tools.mesh import (
    Mesh,
    box,
    cylinder,
    lathe,
    moved,
    msh_bytes,
    rotation_matrix,
    stretched,
)
from mist_jax.simulator.lite.tools.mjcf import Boxes, scanned_object
from mist_jax.simulator.lite.tools.textures import Colour, label, png_bytes

# Takes height from z to y.
_LYING = rotation_matrix((1, -1, 0, 0))
_METAL = (120, 118, 124)


class Grocery(NamedTuple):
    """One object.

    Attributes:
        name: folder and file.
        model: LIBERO's name of model and mesh.
        boxes: contact geometry.
        markers: z of bottom_site and top_site, x = y of horizontal_radius_site (m).
        mesh: what is seen.
        bands: share of the height at which each colour ends, from the top.
        patches: colour, centre (u, v) and radii of ellipses on the label.
    """

    name: str
    model: str
    boxes: tuple[Boxes, ...]
    markers: tuple[float, float, float]
    mesh: Mesh
    bands: tuple[tuple[float, Colour], ...]
    patches: tuple[tuple[Colour, float, float, float, float], ...] = ()

    def files(self) -> dict[str, bytes]:
        """Model, mesh and texture by path."""
        folder = f"stable_hope_objects/{self.name}"
        mesh = f"visual/{self.model}_vis.msh"
        return {
            f"{folder}/{self.name}.xml": scanned_object(
                self.model, self.boxes, texture="texture_map.png", mesh=mesh, markers=self.markers
            ),
            f"{folder}/{mesh}": msh_bytes(self.mesh),
            f"{folder}/texture_map.png": png_bytes(label(self.bands, self.patches)),
        }


def _can(radius: float, half_height: float) -> Mesh:
    return moved(cylinder(radius, half_height, 28), _LYING, (0, 0, 0))


def _carton(x: float, height: float, z: float) -> Mesh:
    return moved(box((x, z, height)), _LYING, (0, 0, 0))


def _bottle(width: float, half_height: float, depth: float) -> Mesh:
    """A narrow cap and neck over a belly; half sizes (m), upright along z."""
    profile = [
        (0.0, 1.0),
        (0.40, 1.0),
        (0.45, 0.60),
        (0.40, 0.52),
        (0.75, 0.10),
        (1.0, -0.35),
        (0.92, -0.95),
        (0.80, -1.0),
        (0.0, -1.0),
    ]
    return stretched(lathe(profile, 24), (width, depth, half_height))


_MARKERS = (-0.06, 0.04, 0.025)
# Along a bottle's profile: its cap ends near 0.25 of the length.
GROCERIES = (
    Grocery(
        "alphabet_soup",
        "textured",
        grocery_boxes.ALPHABET_SOUP,
        (-0.04, 0.04, 0.025),
        _can(0.033, 0.0416),
        (
            (0.23, _METAL),
            (0.46, (60, 84, 150)),
            (0.55, (170, 166, 160)),
            (0.77, (186, 104, 20)),
            (1.0, _METAL),
        ),
    ),
    Grocery(
        "bbq_sauce",
        "bbq_sauce",
        grocery_boxes.BBQ_SAUCE,
        (-0.06, 0.06, 0.015),
        _bottle(0.0249, 0.0571, 0.0167),
        ((0.3, (146, 44, 4)), (1.0, (74, 22, 2))),
        (((150, 80, 20), 0.75, 0.6, 0.14, 0.10),),
    ),
    Grocery(
        "butter",
        "butter",
        grocery_boxes.BUTTER,
        (-0.02, 0.02, 0.02),
        box((0.0387, 0.0198, 0.009)),
        ((0.6, (170, 40, 16)), (1.0, (90, 120, 170))),
        (((196, 150, 30), 0.3, 0.35, 0.2, 0.2), ((220, 220, 220), 0.8, 0.6, 0.12, 0.25)),
    ),
    Grocery(
        "chocolate_pudding",
        "textured",
        grocery_boxes.CHOCOLATE_PUDDING,
        _MARKERS,
        box((0.0417, 0.0248, 0.015)),
        ((0.72, (70, 38, 26)), (1.0, (110, 146, 186))),
        (((176, 120, 40), 0.5, 0.4, 0.36, 0.14), ((170, 40, 30), 0.92, 0.15, 0.07, 0.1)),
    ),
    Grocery(
        "cream_cheese",
        "cream_cheese",
        grocery_boxes.CREAM_CHEESE,
        (-0.025, 0.025, 0.03),
        box((0.0415, 0.0213, 0.0097)),
        ((1.0, (140, 152, 176)),),
        (((56, 66, 140), 0.5, 0.5, 0.38, 0.36), ((150, 160, 200), 0.5, 0.5, 0.26, 0.12)),
    ),
    Grocery(
        "ketchup",
        "textured",
        grocery_boxes.KETCHUP,
        _MARKERS,
        moved(_bottle(0.0323, 0.0743, 0.0217), _LYING, (0, 0, 0)),
        ((0.3, (186, 186, 186)), (1.0, (190, 66, 8))),
        (((210, 204, 190), 0.75, 0.62, 0.13, 0.10), ((200, 50, 30), 0.25, 0.62, 0.13, 0.10)),
    ),
    Grocery(
        "milk",
        "textured",
        grocery_boxes.MILK,
        (-0.06, 0.04, 0.03),
        _carton(0.027, 0.0714, 0.0274),
        (
            (0.22, (150, 30, 20)),
            (0.4, (196, 190, 190)),
            (0.55, (176, 36, 24)),
            (0.85, (120, 150, 180)),
            (1.0, (30, 110, 50)),
        ),
        (((24, 24, 26), 0.5, 0.74, 0.26, 0.1),),
    ),
    Grocery(
        "orange_juice",
        "textured",
        grocery_boxes.ORANGE_JUICE,
        _MARKERS,
        _carton(0.0268, 0.0722, 0.0273),
        (
            (0.16, (190, 180, 40)),
            (0.32, (196, 90, 10)),
            (0.55, (206, 200, 150)),
            (1.0, (190, 160, 20)),
        ),
        (((206, 110, 10), 0.5, 0.76, 0.42, 0.2), ((40, 100, 40), 0.5, 0.46, 0.36, 0.05)),
    ),
    Grocery(
        "salad_dressing",
        "textured",
        grocery_boxes.SALAD_DRESSING,
        _MARKERS,
        moved(_bottle(0.0320, 0.0737, 0.0218), _LYING, (0, 0, 0)),
        ((0.33, (10, 100, 50)), (1.0, (166, 170, 168))),
        (((60, 120, 40), 0.75, 0.62, 0.14, 0.12), ((200, 204, 196), 0.75, 0.6, 0.11, 0.08)),
    ),
    Grocery(
        "tomato_sauce",
        "textured",
        grocery_boxes.TOMATO_SAUCE,
        _MARKERS,
        _can(0.0332, 0.0414),
        (
            (0.23, _METAL),
            (0.42, (170, 44, 16)),
            (0.53, (20, 100, 40)),
            (0.62, (180, 176, 170)),
            (0.76, (176, 50, 16)),
            (1.0, _METAL),
        ),
    ),
)


def files() -> dict[str, bytes]:
    """Models, meshes and textures by path."""
    return {path: content for item in GROCERIES for path, content in item.files().items()}
