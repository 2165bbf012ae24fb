"""The cookie box: 6.2 x 8.3 x 1.9 cm, white and red with golden cookies on the front."""

import numpy as np

from mist_jax.simulator.lite.tools.mesh import box, msh_bytes
from mist_jax.simulator.lite.tools.mjcf import Boxes, scanned_object
from mist_jax.simulator.lite.tools.textures import png_bytes

_FOLDER = "stable_hope_objects/cookies"
_HALF_SIZE = (0.0306, 0.0416, 0.0100)

_RED = (168, 44, 26)
_WHITE = (160, 156, 156)
_GOLD = (136, 104, 48)
_DARK = (84, 48, 24)

# Parts of the texture (u0, v0, u1, v1): front, plain red, checker.
_FRONT = (0.0, 0.0, 0.75, 1.0)
_SIDE = (0.76, 0.02, 0.99, 0.48)
_CHECKER = (0.76, 0.52, 0.99, 0.98)

CONTACT_BOXES = (
    Boxes(
        (0.0094, 0.03104, 0.04131),
        ((0.0, 0.0, 0.0, 0.0025, -0.0025, 0.0025, 0.0025),),
    ),
)


def _texture() -> np.ndarray:
    """Front, side and checker in one image: uint8 [256, 256, 3]."""
    rows, columns = np.mgrid[0:256, 0:256]
    checker = np.where(((rows // 16 + columns // 16) % 2)[..., None], _RED, _WHITE)
    pixels = checker.copy()
    pixels[:52, :192] = _RED
    pixels[20:32, 24:168:2] = _WHITE
    pixels[52:116, :192] = _WHITE
    letters = (columns // 12 % 2 == 0) & (rows > 66) & (rows < 100) & (columns > 16)
    pixels[letters & (columns < 176)] = _DARK
    for row, column in ((140, 96), (176, 52), (182, 136), (222, 92)):
        distance = np.hypot(rows - row, columns - column)
        pixels[(distance < 46) & (columns < 192)] = _DARK
        pixels[(distance < 43) & (columns < 192)] = _GOLD
        for chip in range(7):
            angle = 2.4 * chip + row
            away = 8 + 4 * chip
            chip_row, chip_column = row + away * np.sin(angle), column + away * np.cos(angle)
            near = np.hypot(rows - chip_row, columns - chip_column) < 4
            pixels[near & (columns < 192)] = _DARK if chip % 3 else (200, 190, 150)
    pixels[:128, 192:] = _RED
    pixels[30:98, 206:240] = _WHITE
    return pixels.astype(np.uint8)


def files() -> dict[str, bytes]:
    """Model, mesh and texture by path."""
    windows = (_SIDE, _SIDE, _CHECKER, _CHECKER, _FRONT, _FRONT)
    return {
        f"{_FOLDER}/cookies.xml": scanned_object(
            "cookies", CONTACT_BOXES, texture="texture_map.png", mesh="visual/cookies_vis.msh"
        ),
        f"{_FOLDER}/visual/cookies_vis.msh": msh_bytes(box(_HALF_SIZE, windows)),
        f"{_FOLDER}/texture_map.png": png_bytes(_texture()),
    }
