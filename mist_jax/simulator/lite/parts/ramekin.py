"""The ramekin: a white porcelain cup with a fluted side, 8.9 cm wide, 4.3 cm high."""

import numpy as np

from mist_jax.simulator.lite.tools.mesh import lathe, msh_bytes, profile_lengths
from mist_jax.simulator.lite.tools.mjcf import Boxes, scanned_object
from mist_jax.simulator.lite.tools.textures import png_bytes

_NAME = "glazed_rim_porcelain_ramekin"
_FOLDER = f"stable_scanned_objects/{_NAME}"

# (radius, z) in metres from the inner bottom over the rim to the outer bottom.
_PROFILE = (
    (0.0, 0.0080),
    (0.0300, 0.0082),
    (0.0351, 0.0120),
    (0.0355, 0.0300),
    (0.0385, 0.0360),
    (0.0405, 0.0425),
    (0.0430, 0.0433),
    (0.0446, 0.0400),
    (0.0440, 0.0350),
    (0.0422, 0.0330),
    (0.0412, 0.0160),
    (0.0395, 0.0),
    (0.0, 0.0),
)
_FLUTED = (9, 11)
_FLUTES = 36


def _texture() -> np.ndarray:
    """White, with soft vertical stripes where the side is fluted: uint8 [64, 512, 3]."""
    v = (np.arange(64) + 0.5) / 64
    lengths = profile_lengths(_PROFILE)
    fluted = (v > lengths[_FLUTED[0]]) & (v < lengths[_FLUTED[1]])
    stripes = 14 * np.cos(2 * np.pi * _FLUTES * np.arange(512) / 512)
    shade = 226 + np.where(fluted[:, None], stripes[None] - 14, 0)
    return np.repeat(shade[..., None], 3, axis=-1).astype(np.uint8)


def files() -> dict[str, bytes]:
    """Model, mesh and texture by path."""
    return {
        f"{_FOLDER}/{_NAME}.xml": scanned_object(
            _NAME, CONTACT_BOXES, texture="texture.png", mesh=f"visual/{_NAME}_vis.msh"
        ),
        f"{_FOLDER}/visual/{_NAME}_vis.msh": msh_bytes(lathe(_PROFILE, 48)),
        f"{_FOLDER}/texture.png": png_bytes(_texture()),
    }


# First bottom piece, side ring, rest of the bottom.
CONTACT_BOXES = (
    Boxes((0.00319, 0.02436, 0.02436), ((0.0, 0.0, 0.00413, 0.5, 0.5, -0.5, 0.5),)),
    Boxes(
        (0.0026, 0.00948, 0.02085),
        (
            (0.0, -0.03824, 0.02166, 0.05274, -0.70514, -0.70514, -0.05274),
            (-0.00103, 0.03822, 0.02166, 0.69559, -0.05345, 0.05203, 0.71456),
            (0.03823, 0.00069, 0.02166, 0.99717, -0.00067, 0.07458, 0.00894),
            (-0.03823, -0.00043, 0.02166, 0.0056, 0.07459, 0.00042, -0.9972),
            (-0.03823, -0.00043, 0.02166, 0.0056, 0.07459, 0.00042, -0.9972),
            (-0.03485, -0.01573, 0.02166, 0.07291, -0.20986, 0.97488, 0.0157),
            (-0.02624, -0.02782, 0.02166, 0.39505, 0.06848, 0.02954, -0.91563),
            (-0.01352, -0.03577, 0.02166, 0.56692, 0.06136, 0.0424, -0.82039),
            (0.0166, -0.03444, 0.02166, 0.03967, -0.84445, 0.53042, 0.06316),
            (0.02949, -0.02434, 0.02166, 0.02522, -0.93844, 0.33729, 0.07018),
            (0.03627, -0.0121, 0.02166, 0.01195, -0.98432, 0.15984, 0.07362),
            (0.03436, 0.01678, 0.02166, 0.97159, -0.0168, 0.07267, 0.22462),
            (0.0254, 0.02858, 0.02166, 0.03056, 0.90972, 0.40847, -0.06804),
            (0.01202, 0.0363, 0.02166, 0.04367, 0.80841, 0.58388, -0.06046),
            (-0.01724, 0.03413, 0.02166, 0.52256, -0.06352, 0.03908, 0.84934),
            (-0.02979, 0.02397, 0.02166, 0.33139, -0.07035, 0.02478, 0.94054),
            (-0.03632, 0.01194, 0.02166, 0.15768, -0.07364, 0.01179, 0.98467),
        ),
    ),
    Boxes(
        (0.00319, 0.00373, 0.02436),
        (
            (-0.0282, 0.0, 0.00413, 0.5, 0.5, 0.5, -0.5),
            (0.00057, -0.02674, 0.00413, 0.70707, -0.00752, 0.70707, 0.00752),
            (0.00087, 0.02673, 0.00413, 0.0115, -0.70701, 0.0115, 0.70701),
        ),
    ),
    Boxes(
        (0.00319, 0.00373, 0.01209),
        (
            (-0.03172, 0.0, 0.00413, 0.5, 0.5, 0.5, -0.5),
            (0.03291, 0.0, 0.00413, 0.5, 0.5, 0.5, -0.5),
            (-0.00038, -0.0329, 0.00413, 0.00404, -0.7071, 0.00404, 0.7071),
            (0.00085, 0.0329, 0.00413, 0.70705, 0.00914, 0.70705, -0.00914),
        ),
    ),
)
