"""The camera image that the towers see is TensorFlow's, step by step."""

import hashlib
import io
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mist_jax.policy.openvla_oft.network.config import DINO_MEAN, DINO_STD
from mist_jax.policy.preprocessing.images import (
    ImagePreprocessing,
    crop_centre,
    jpeg_round_trip,
    resize_lanczos3,
    rotate_180,
)


def picture(side: int) -> np.ndarray:
    """An image with edges and gradients that is the same on every machine."""
    y, x = np.mgrid[0:side, 0:side]
    red = (3 * x + 5 * y) % 256
    green = (x * y // 7 + 11 * x) % 256
    blue = ((x // 9) ^ (y // 13)) * 37 % 256
    return np.stack([red, green, blue], -1).astype(np.uint8)


def digest(image: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()[:16]


# SHA-256 of what TensorFlow 2.15.1 gives for picture(side): after encode_jpeg and decode_image,
# after image.resize(lanczos3, antialias), after image.crop_and_resize and convert_image_dtype.
TENSORFLOW = {
    (256, 224): ("081747d480af2273", "09843aaef3270580", "9531fadf70af0398"),
    (256, 140): ("081747d480af2273", "94564871fbb02664", "751ae1f094b5d696"),
    (128, 224): ("b8b0c5ef2b2fdab0", "f93440104cb0c2b3", "a2907290f04b0a02"),
    (128, 140): ("b8b0c5ef2b2fdab0", "f235d42e0d72b1b0", "636cf14a236c9e90"),
}


@pytest.mark.parametrize(("side", "size"), TENSORFLOW)
def test_every_step_gives_the_bits_of_tensorflow(side: int, size: int) -> None:
    jpeg, resized, cropped = TENSORFLOW[side, size]
    image = jpeg_round_trip(rotate_180(picture(side)))
    assert digest(image) == jpeg
    image = resize_lanczos3(image, size, size)
    assert digest(image) == resized
    assert digest(crop_centre(image)) == cropped
    whole = ImagePreprocessing(image_size=size, crop_side=size)
    assert digest(whole(picture(side))) == cropped


def test_both_axes_are_flipped() -> None:
    image = picture(64)
    np.testing.assert_array_equal(rotate_180(image), np.rot90(image, 2))


def test_jpeg_is_read_with_the_fast_inverse_dct() -> None:
    image = picture(256)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95, subsampling="4:2:0")
    accurate = np.asarray(Image.open(file))
    ours = jpeg_round_trip(image)
    differing = (ours != accurate).mean()
    assert differing > 0.3
    assert np.abs(ours.astype(int) - accurate).max() < 24


def lanczos_by_definition(image: np.ndarray, size: int) -> np.ndarray:
    """Lanczos-3 in float64, from its definition, one output at a time along each axis."""

    def kernel(x: float) -> float:
        if abs(x) >= 3:
            return 0.0
        if x == 0:
            return 1.0
        return 3 * math.sin(math.pi * x) * math.sin(math.pi * x / 3) / (math.pi * x) ** 2

    def along_rows(values: np.ndarray) -> np.ndarray:
        ratio = len(values) / size
        stretch = max(ratio, 1.0)
        rows = []
        for output in range(size):
            centre = (output + 0.5) * ratio
            weights = np.array([kernel((i + 0.5 - centre) / stretch) for i in range(len(values))])
            rows.append(np.tensordot(weights / weights.sum(), values, 1))
        return np.stack(rows)

    return along_rows(along_rows(image.astype(float)).swapaxes(0, 1)).swapaxes(0, 1)


@pytest.mark.parametrize(("side", "size"), [(256, 224), (40, 56), (90, 28)])
def test_resize_is_lanczos_with_antialiasing(side: int, size: int) -> None:
    exact = np.clip(lanczos_by_definition(picture(side), size), 0, 255)
    assert np.abs(resize_lanczos3(picture(side), size, size) - exact).max() < 0.51


def test_resize_rounds_half_to_even() -> None:
    column = np.array([[0, 1], [1, 2]], np.uint8)[..., None].repeat(3, -1)
    resized = resize_lanczos3(column, 1, 1)
    assert resized.tolist() == [[[1, 1, 1]]]
    half = np.array([[0, 1]], np.uint8)[..., None].repeat(3, -1)
    assert resize_lanczos3(half, 1, 1).tolist() == [[[0, 0, 0]]]


@settings(max_examples=25)
@given(st.integers(0, 255), st.integers(8, 60), st.integers(8, 60))
def test_a_flat_image_stays_flat(level: int, side: int, size: int) -> None:
    flat = np.full((side, side, 3), level, np.uint8)
    assert (resize_lanczos3(flat, size, size) == level).all()
    assert (crop_centre(flat) == level).all()


def crop_by_definition(image: np.ndarray) -> np.ndarray:
    """The crop before its cast to uint8, float64 on [0, 1]."""
    last = len(image) - 1
    side = math.sqrt(0.9)
    at = (1 - side) / 2 * last + np.arange(len(image)) * side
    grid = np.arange(len(image))
    unit = image / 255.0
    rows = np.stack(
        [[np.interp(at, grid, row) for row in unit[..., c].T] for c in range(3)], -1
    ).swapaxes(0, 1)
    return np.stack([[np.interp(at, grid, row) for row in rows[..., c]] for c in range(3)], -1)


def test_crop_is_the_centre_and_truncates() -> None:
    image = picture(224)
    value = crop_by_definition(image)
    ours = crop_centre(image)
    truncated, rounded = np.floor(value * 255.5), np.rint(value * 255)
    assert (ours != truncated).mean() < 1e-3
    assert (ours != rounded).mean() > 0.1


def test_crop_starts_where_the_reference_does() -> None:
    ramp = np.broadcast_to(np.arange(224, dtype=np.uint8)[:, None, None], (224, 224, 3))
    cropped = crop_centre(np.ascontiguousarray(ramp))
    expected = np.floor((5.72182 + np.arange(224) * 0.948683) / 255 * 255.5)
    assert np.abs(cropped[:, 100, 0] - expected).max() <= 1


def test_towers_smaller_than_the_crop_get_the_processors_bicubic_resize() -> None:
    at_crop = ImagePreprocessing()(picture(256))
    expected = np.asarray(Image.fromarray(at_crop).resize((56, 56), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(ImagePreprocessing(image_size=56)(picture(256)), expected)


def test_steps_a_checkpoint_does_without_are_left_out() -> None:
    plain = ImagePreprocessing(
        image_size=64, crop_side=64, jpeg_round_trip=False, center_crop=False
    )
    np.testing.assert_array_equal(plain(picture(64)), rotate_180(picture(64)))


def test_dino_constants_are_rounded_to_bfloat16() -> None:
    rounded = {
        name: tuple(np.asarray(values, ml_dtypes.bfloat16).astype(float).tolist())
        for name, values in {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}.items()
    }
    assert rounded == {"mean": DINO_MEAN, "std": DINO_STD}
