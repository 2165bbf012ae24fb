"""Textures painted by code: uint8 [H, W, 3] sRGB arrays, and PNG files of them."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

Colour = tuple[int, int, int]


def png_bytes(pixels: np.ndarray) -> bytes:
    """Encode uint8 [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _clip(pixels: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def plain(colour: Colour, size: int = 8) -> np.ndarray:
    """One colour."""
    return np.full((size, size, 3), colour, np.uint8)


def speckle(shape: tuple[int, int], colour: Colour, deviation: float, seed: int) -> np.ndarray:
    """A colour with grey noise in every pixel."""
    noise = np.random.default_rng(seed).normal(0, deviation, (*shape, 1))
    return _clip(np.asarray(colour) + noise)


def _smooth_noise(
    shape: tuple[int, int], cells: tuple[int, int], generator: np.random.Generator
) -> np.ndarray:
    """Noise [H, W] in [-1, 1] that varies over `cells` patches and tiles without a seam."""
    grid = generator.uniform(-1, 1, cells)
    for axis in (0, 1):
        position = np.arange(shape[axis]) * cells[axis] / shape[axis]
        low = position.astype(int)
        weight = position - low
        weight = weight * weight * (3 - 2 * weight)
        weight = weight[:, None] if axis == 0 else weight[None, :]
        grid = (1 - weight) * grid.take(low, axis) + weight * grid.take(low + 1, axis, mode="wrap")
    return grid


def wood(size: int, colour: Colour, contrast: float, rings: int, seed: int) -> np.ndarray:
    """Grain along the rows: wavy rings of `contrast` levels over fine fibres."""
    generator = np.random.default_rng(seed)
    shape = (size, size)
    height = np.linspace(0, 1, size, endpoint=False)[:, None]
    bend = 0.35 * _smooth_noise(shape, (4, 2), generator)
    ring = np.sin(2 * np.pi * (rings * height + bend * rings / 2))
    fibre = _smooth_noise(shape, (size // 2, 4), generator)
    cloud = _smooth_noise(shape, (6, 3), generator)
    shade = contrast * (0.5 * ring + 0.35 * fibre + 0.5 * cloud)
    # Dark grain is a little redder than the wood between.
    return _clip(np.asarray(colour) + shade[..., None] * np.array([0.85, 1.0, 1.1]))


def brushed_metal(size: int, grey: int, deviation: float, seed: int) -> np.ndarray:
    """Grey with fine scratches along the rows."""
    generator = np.random.default_rng(seed)
    scratches = _smooth_noise((size, size), (size, 8), generator)
    sheen = _smooth_noise((size, size), (2, 2), generator)
    grey_map = grey + deviation * (0.8 * scratches + 0.6 * sheen)
    return _clip(np.repeat(grey_map[..., None], 3, -1))


def planks(size: int, colour: Colour, joint: Colour, rows: int, seed: int) -> np.ndarray:
    """Floor boards: `rows` of fibrous wood, each cut at its own place, with light joints."""
    generator = np.random.default_rng(seed)
    fibre = _smooth_noise((size, size), (size // 2, 5), generator)
    cloud = _smooth_noise((size, size), (12, 4), generator)
    board = np.repeat(generator.uniform(-4, 4, rows), size // rows)[:, None]
    pixels = _clip(np.asarray(colour) + (9 * fibre + 7 * cloud + board)[..., None])
    height = size // rows
    width = max(1, height // 24)
    for row in range(rows):
        pixels[row * height : row * height + width] = joint
        cut = (size // 4 + row * size // 4) % size
        pixels[row * height : (row + 1) * height, cut : cut + width] = joint
    return pixels


def plaster(size: int, colour: Colour, contrast: float, seed: int) -> np.ndarray:
    """Almost one colour, with soft clouds."""
    generator = np.random.default_rng(seed)
    cloud = sum(
        _smooth_noise((size, size), (cells, cells), generator) / octave
        for octave, cells in enumerate((4, 11, 29), 1)
    )
    return _clip(np.asarray(colour) + contrast * np.asarray(cloud)[..., None])


def label(
    bands: Sequence[tuple[float, Colour]],
    patches: Sequence[tuple[Colour, float, float, float, float]],
    size: int = 96,
) -> np.ndarray:
    """Bands (share of the height at which each ends, colour), ellipses (colour, u, v, radii)."""
    v, u = (np.mgrid[0:size, 0:size] + 0.5) / size
    pixels = np.empty((size, size, 3), np.uint8)
    for end, colour in reversed(bands):
        pixels[v[:, 0] < end] = colour
    for colour, u0, v0, u_radius, v_radius in patches:
        pixels[((u - u0) / u_radius) ** 2 + ((v - v0) / v_radius) ** 2 < 1] = colour
    return pixels
