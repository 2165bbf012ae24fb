"""The plate: white with four red rings, 13.7 cm wide, 1.7 cm high."""

import numpy as np

from mist_jax.simulator.lite.tools.mesh import lathe, msh_bytes, profile_lengths
from mist_jax.simulator.lite.tools.mjcf import Boxes, scanned_object
from mist_jax.simulator.lite.tools.textures import png_bytes

_FOLDER = "stable_scanned_objects/plate"

# (radius, z) in metres from the middle of the top over the rim to the middle of the underside.
_PROFILE = (
    (0.0, 0.0050),
    (0.0380, 0.0056),
    (0.0480, 0.0078),
    (0.0580, 0.0122),
    (0.0660, 0.0166),
    (0.0686, 0.0160),
    (0.0620, 0.0104),
    (0.0460, 0.0),
    (0.0404, 0.0),
    (0.0376, 0.0015),
    (0.0, 0.0015),
)
_RIM = 5
_WHITE = (230, 228, 222)
_RED = (176, 82, 78)
# Inner and outer radius of each red ring (m), as seen from above.
_RINGS = ((0.0462, 0.0488), (0.0507, 0.0536), (0.0556, 0.0590), (0.0610, 0.0653))


def _texture() -> np.ndarray:
    """Rings on the upper side: uint8 [512, 8, 3], rows along the profile."""
    v = (np.arange(512) + 0.5) / 512
    lengths = profile_lengths(_PROFILE)
    radius = np.interp(v, lengths, [r for r, _ in _PROFILE])
    red = np.zeros(len(v), bool)
    for inner, outer in _RINGS:
        red |= (radius >= inner) & (radius < outer)
    red &= v < lengths[_RIM]
    pixels = np.where(red[:, None], np.array(_RED), np.array(_WHITE)).astype(np.uint8)
    return np.repeat(pixels[:, None], 8, axis=1)


def files() -> dict[str, bytes]:
    """Model, mesh and texture by path."""
    return {
        f"{_FOLDER}/plate.xml": scanned_object(
            "model", CONTACT_BOXES, texture="texture.png", mesh="visual/model_vis.msh"
        ),
        f"{_FOLDER}/visual/model_vis.msh": msh_bytes(lathe(_PROFILE, 48)),
        f"{_FOLDER}/texture.png": png_bytes(_texture()),
    }


# Floor, then the rim.
CONTACT_BOXES = (
    Boxes((0.00222, 0.02851, 0.03057), ((0.0, 0.0, 0.00313, 0.49356, 0.49356, -0.50636, 0.50636),)),
    Boxes(
        (0.00254, 0.01913, 0.02851),
        (
            (0.0, 0.04828, 0.00696, 0.70574, 0.12139, 0.6879, 0.11832),
            (0.0, 0.04828, 0.00696, 0.70574, 0.12139, 0.6879, 0.11832),
            (0.03237, 0.03583, 0.00696, 0.70114, 0.36036, 0.59839, -0.14306),
            (0.04818, 0.00314, 0.00696, 0.5959, 0.55892, 0.41899, -0.39618),
            (0.03658, -0.03152, 0.00696, 0.67591, -0.40164, 0.59224, 0.17629),
            (0.0023, -0.04823, 0.00696, 0.13507, 0.69059, -0.105, -0.70272),
            (-0.03334, -0.03492, 0.00696, 0.59339, 0.15267, 0.69911, -0.36855),
            (-0.04827, -0.0013, 0.00696, 0.40827, 0.40746, 0.58825, -0.56679),
            (-0.03442, 0.03386, 0.00696, 0.60516, -0.15392, 0.68136, 0.3819),
        ),
    ),
)
