"""The basket of libero_object: an open white box, 17 x 16 cm, 14 cm high."""

import numpy as np

from mist_jax.simulator.lite.tools.mesh import mesh_of_boxes, msh_bytes
from mist_jax.simulator.lite.tools.mjcf import Boxes, scanned_object
from mist_jax.simulator.lite.tools.textures import planks, png_bytes

_FOLDER = "stable_scanned_objects/basket"


def _texture() -> np.ndarray:
    """Thin boards, level on the walls: uint8 [128, 128, 3]."""
    boards = planks(128, (196, 191, 172), (160, 154, 130), 16, seed=10)
    return np.ascontiguousarray(boards.transpose(1, 0, 2))


def files() -> dict[str, bytes]:
    """Model, mesh and texture by path."""
    return {
        f"{_FOLDER}/basket.xml": scanned_object(
            "basket",
            CONTACT_BOXES,
            texture="texture.png",
            mesh="visual/basket_vis.msh",
            region=((0, 0, 0.07185), (0.06108, 0.06108, 0.06949)),
        ),
        f"{_FOLDER}/visual/basket_vis.msh": msh_bytes(mesh_of_boxes(CONTACT_BOXES)),
        f"{_FOLDER}/texture.png": png_bytes(_texture()),
    }


# Floor, then the walls.
CONTACT_BOXES = (
    Boxes((0.0085, 0.0724, 0.07658), ((0.00251, 0.0, 0.01308, 0.7088, 0.0, 0.70541, 0.0),)),
    Boxes(
        (0.00667, 0.06368, 0.0724),
        (
            (-0.07265, 0.0, 0.07657, 0.02672, -0.02672, 0.7066, 0.7066),
            (0.00047, -0.06855, 0.08177, 0.51263, -0.49025, 0.50956, -0.48704),
            (-0.0002, 0.06909, 0.08177, 0.48794, -0.51043, -0.48935, 0.51177),
            (0.07557, 0.0, 0.07657, 0.01765, 0.01765, -0.70689, 0.70689),
        ),
    ),
)
