"""From a rendered camera image to the pixels the vision towers see, bit for bit as the reference.

OpenVLA-OFT was trained on images that went through a JPEG file, TensorFlow's Lanczos resize and a
random crop; at test time it repeats the file and the resize and crops the centre. Every step here
works in float32 in the order in which TensorFlow's kernels add, so that the result is the same
uint8 image. numpy only: this runs in the simulator workers.
"""

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import simplejpeg
from jaxtyping import Float, Int, UInt8
from PIL import Image

REFERENCE_SIDE = 224  # the side the published code resizes and crops at, whatever the towers take
CROP_AREA = 0.9
LANCZOS_RADIUS = 3.0
JPEG_QUALITY = 95


@dataclass(frozen=True)
class ImagePreprocessing:
    """What a checkpoint does to each camera image.

    `crop_side` is where the Lanczos resize and the crop happen; `image_size` is what the towers
    take. Where they differ, the published processor's bicubic resize follows.
    """

    image_size: int = REFERENCE_SIDE
    crop_side: int = REFERENCE_SIDE
    jpeg_round_trip: bool = True
    center_crop: bool = True

    def __call__(
        self, image: UInt8[np.ndarray, "height width 3"]
    ) -> UInt8[np.ndarray, "side side 3"]:
        """The uint8 image [image_size, image_size, 3] for one image as rendered by LIBERO."""
        pixels = rotate_180(image)
        if self.jpeg_round_trip:
            pixels = jpeg_round_trip(pixels)
        pixels = resize_lanczos3(pixels, self.crop_side, self.crop_side)
        if self.center_crop:
            pixels = crop_centre(pixels)
        if self.image_size != self.crop_side:
            side = (self.image_size, self.image_size)
            pixels = np.asarray(Image.fromarray(pixels).resize(side, Image.Resampling.BICUBIC))
        return pixels


def rotate_180(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """The image turned upside down and left to right, as in the published training data.

    A render is upside down only, so what the towers see is upright and mirrored.
    """
    return np.ascontiguousarray(image[::-1, ::-1])


def jpeg_round_trip(
    image: UInt8[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "height width 3"]:
    """The image after a JPEG file at quality 95, 4:2:0, read with the fast inverse DCT.

    TensorFlow's decoder uses the fast inverse DCT with fancy upsampling; PIL's and OpenCV's
    accurate one differs on most values.
    """
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    return simplejpeg.decode_jpeg(file.getvalue(), fastdct=True, fastupsample=False)


def resize_lanczos3(
    image: UInt8[np.ndarray, "old_height old_width 3"], height: int, width: int
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """Lanczos-3 resize with antialiasing, half-pixel centres, rounded half to even and clipped.

    As `tf.image.resize(image, method="lanczos3", antialias=True)`: rows first, then columns, each
    output the sum over its span of inputs in ascending order.
    """
    rows = _gather(image.astype(np.float32), *_lanczos3_spans(image.shape[0], height))
    columns = _gather(rows.swapaxes(0, 1), *_lanczos3_spans(image.shape[1], width))
    return np.clip(np.rint(columns.swapaxes(0, 1)), 0, 255).astype(np.uint8)


def _gather(
    rows: Float[np.ndarray, "n ..."],
    index: Int[np.ndarray, "m k"],
    weight: Float[np.ndarray, "m k"],
) -> Float[np.ndarray, "m ..."]:
    # A loop over taps, not a matrix product: BLAS adds in another order on each machine.
    weight = weight.reshape(*weight.shape, *(1,) * (rows.ndim - 1))
    total = rows[index[:, 0]] * weight[:, 0]
    for tap in range(1, index.shape[1]):
        total += rows[index[:, tap]] * weight[:, tap]
    return total


@lru_cache(maxsize=32)
def _lanczos3_spans(
    size: int, new_size: int
) -> tuple[Int[np.ndarray, "m k"], Float[np.ndarray, "m k"]]:
    """For each output: the inputs it reads, and their weights (0 where its span is shorter)."""
    step = np.float32(1) / (np.float32(new_size) / np.float32(size))
    stretch = np.maximum(step, np.float32(1))
    centre = (np.arange(new_size, dtype=np.float32) + np.float32(0.5)) * step
    reach = np.float32(LANCZOS_RADIUS) * stretch
    half = np.float32(0.5)
    first = np.clip(np.ceil(centre - reach - half), 0, size - 1).astype(np.int64)
    last = np.clip(np.floor(centre + reach - half), 0, size - 1).astype(np.int64)
    index = first[:, None] + np.arange((last - first).max() + 1)
    distance = (index.astype(np.float32) + half - centre[:, None]) * (np.float32(1) / stretch)
    weight = np.where(index <= last[:, None], _lanczos3(np.abs(distance)), np.float32(0))
    total = np.zeros(new_size, np.float32)
    for tap in range(index.shape[1]):
        total += weight[:, tap]
    weight *= (np.float32(1) / total)[:, None]
    return np.minimum(index, size - 1), weight


def _lanczos3(x: Float[np.ndarray, "m k"]) -> Float[np.ndarray, "m k"]:
    # Below 1e-3 the kernel is 1 in TensorFlow, not sin(x)/x. The sine is taken in float64 and
    # rounded: numpy's float32 sine is another one on each processor.
    radius, pi = np.float32(LANCZOS_RADIUS), np.float32(np.pi)
    near = x <= np.float32(1e-3)
    y = np.where(near, np.float32(1), x)
    value = radius * _sine(pi * y) * _sine(pi * y / radius) / (pi * pi * y * y)
    return np.where(near, np.float32(1), np.where(x > radius, np.float32(0), value))


def _sine(x: Float[np.ndarray, "m k"]) -> Float[np.ndarray, "m k"]:
    return np.sin(x.astype(np.float64)).astype(np.float32)


def crop_centre(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """The central 90 % of the area, resized back to the image's own size, bilinear.

    As `tf.image.crop_and_resize` on the image over 255, then TensorFlow's cast back to uint8,
    which truncates v * 255.5 (rounding v * 255 gives other values).
    """
    pixels = image.astype(np.float32) * np.float32(1 / 255)
    low, high, share = _crop_grid(image.shape[1])
    share = share[:, None]
    left, right = pixels[:, low], pixels[:, high]
    pixels = left + (right - left) * share
    low, high, share = _crop_grid(image.shape[0])
    share = share[:, None, None]
    top, bottom = pixels[low], pixels[high]
    pixels = np.clip(top + (bottom - top) * share, 0, 1)
    return (pixels * np.float32(255.5)).astype(np.uint8)


@lru_cache(maxsize=32)
def _crop_grid(
    size: int,
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """For each output pixel of one axis: its two source pixels and the share of the second."""
    side = np.sqrt(np.float32(CROP_AREA))
    start = (np.float32(1) - side) / np.float32(2)
    span = np.float32(size - 1)
    step = (start + side - start) * span / span
    source = start * span + np.arange(size, dtype=np.float32) * step
    low, high = np.floor(source), np.ceil(source)
    return low.astype(np.int64), high.astype(np.int64), source - low
