"""Pictures as a worse sensor would give them.

Kinds and strengths after ImageNet-C (Hendrycks & Dietterich 2019, arXiv 1903.12261): the five that
LIBERO-plus uses, and Gaussian noise. Lengths are in pixels of a picture of 224, and scale with it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

_PIXELS = 224  # of the pictures that the strengths are of
_Picture = Float[np.ndarray, "H W 3"]  # in [0, 1]

_NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)  # standard deviation
_BLUR = (1.0, 2.0, 3.0, 4.0, 6.0)  # standard deviation, pixels
_MOTION = (5.0, 8.0, 11.0, 15.0, 20.0)  # length of the smear, pixels
_ZOOM = (1.11, 1.16, 1.21, 1.26, 1.33)  # largest magnification
_FOG = (0.45, 0.55, 0.65, 0.72, 0.80)  # mean share of white
_GLASS = ((0.7, 1), (0.9, 2), (1.0, 2), (1.1, 3), (1.5, 4))  # deviation of the blur, reach: pixels


@dataclass(frozen=True)
class ImageNoise:
    """How the pictures of one scene are spoilt; what is random in it is drawn anew for each.

    Attributes:
      kind: a name in `KINDS`.
      level: 1 to 5.
      angle: of the smear of a moved camera (rad).
      seed: of all draws.
    """

    kind: str
    level: int
    angle: float
    seed: int

    def __call__(self, image: UInt8[np.ndarray, "H W 3"], step: int) -> UInt8[np.ndarray, "H W 3"]:
        """The picture of a control step, spoilt: a function of these numbers, it and the step."""
        rng = np.random.default_rng([self.seed, step])
        pixel = min(image.shape[:2]) / _PIXELS
        spoilt = KINDS[self.kind](image.astype(np.float32) / 255.0, self, pixel, rng)
        return np.asarray(np.rint(np.clip(spoilt, 0.0, 1.0) * 255.0), np.uint8)

    def __str__(self) -> str:
        return self.kind.replace("_", " ")


def draw_noise(level: int, rng: np.random.Generator) -> ImageNoise:
    """The noise of one scene; the kind does not depend on the level."""
    kind = tuple(KINDS)[int(rng.integers(len(KINDS)))]
    angle = float(rng.uniform(0.0, math.pi))
    return ImageNoise(kind, level, angle, seed=int(rng.integers(2**32)))


def _gaussian_noise(
    image: _Picture, noise: ImageNoise, pixel: float, rng: np.random.Generator
) -> _Picture:
    del pixel
    return image + _NOISE[noise.level - 1] * rng.standard_normal(image.shape)


def _gaussian_blur(
    image: _Picture, noise: ImageNoise, pixel: float, rng: np.random.Generator
) -> _Picture:
    del rng
    return _blurred(image, _BLUR[noise.level - 1] * pixel)


def _motion_blur(
    image: _Picture, noise: ImageNoise, pixel: float, rng: np.random.Generator
) -> _Picture:
    del rng
    length = _MOTION[noise.level - 1] * pixel
    reach = math.ceil(length / 2)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    along = np.linspace(-length / 2, length / 2, 8 * reach + 1)
    rows = np.rint(reach + math.sin(noise.angle) * along).astype(int)
    columns = np.rint(reach + math.cos(noise.angle) * along).astype(int)
    np.add.at(kernel, (rows, columns), 1.0 / len(along))
    return ndimage.convolve(image, kernel[..., None], mode="nearest")


def _zoom_blur(
    image: _Picture, noise: ImageNoise, pixel: float, rng: np.random.Generator
) -> _Picture:
    del pixel, rng
    middle = np.array([(size - 1) / 2 for size in image.shape[:2]] + [0.0])
    seen = []
    for factor in np.linspace(1.0, _ZOOM[noise.level - 1], 8):
        scale = np.array([1 / factor, 1 / factor, 1.0])
        offset: Any = middle * (1 - scale)
        seen.append(ndimage.affine_transform(image, scale, offset, order=1, mode="nearest"))
    return np.mean(seen, axis=0)


def _fog(image: _Picture, noise: ImageNoise, pixel: float, rng: np.random.Generator) -> _Picture:
    del pixel
    height, width = image.shape[:2]
    cloud = np.zeros((height, width))
    for cells in (2, 4, 8, 16):  # ever finer, ever fainter
        coarse = rng.uniform(size=(cells, cells))
        zoomed: Any = ndimage.zoom(coarse, (height / cells, width / cells), order=1, mode="nearest")
        cloud += zoomed[:height, :width] / cells
    cloud = (cloud - cloud.mean()) / max(float(np.ptp(cloud)), 1e-6)
    share = np.clip(_FOG[noise.level - 1] + 0.4 * cloud, 0.0, 1.0)[..., None]
    return (1.0 - share) * image + share * 0.9


def _glass_blur(
    image: _Picture, noise: ImageNoise, pixel: float, rng: np.random.Generator
) -> _Picture:
    deviation, reach = _GLASS[noise.level - 1]
    far = max(1, round(reach * pixel))
    rows, columns = np.indices(image.shape[:2])
    aside = rng.integers(-far, far, size=(2, *image.shape[:2]), endpoint=True)
    rows = np.clip(rows + aside[0], 0, image.shape[0] - 1)
    columns = np.clip(columns + aside[1], 0, image.shape[1] - 1)
    return _blurred(_blurred(image, deviation * pixel)[rows, columns], deviation * pixel)


def _blurred(image: _Picture, deviation: float) -> _Picture:
    return ndimage.gaussian_filter(image, (deviation, deviation, 0.0), mode="nearest")


KINDS: Mapping[str, Callable[[_Picture, ImageNoise, float, np.random.Generator], _Picture]] = (
    MappingProxyType(
        {
            "gaussian_noise": _gaussian_noise,
            "gaussian_blur": _gaussian_blur,
            "motion_blur": _motion_blur,
            "zoom_blur": _zoom_blur,
            "fog": _fog,
            "glass_blur": _glass_blur,
        }
    )
)
