"""Random crops and colours on the device: the training-time twin of the centre crop."""

import jax
import jax.numpy as jnp

from mist_jax.axes import Array, Float, UInt8
from mist_jax.policy.preprocessing.images import CROP_AREA

BRIGHTNESS, CONTRAST, SATURATION = 0.2, 0.2, 0.2
COLOUR_SHIFT = 0.05


def augment(
    images: UInt8[Array, "B I height width 3"], key: Array
) -> UInt8[Array, "B I height width 3"]:
    """A random crop of 90% of the area and random colours, per image.

    The crop has the size of the centre crop of evaluation and its bilinear resize; only its place
    is drawn. Brightness, contrast and saturation are OpenVLA's own ranges; channels shift apart by
    up to 5%, which a policy that must serve two sets of textures needs.
    """
    batch, views, height, width, _ = images.shape
    flat = images.reshape(batch * views, height, width, 3).astype(jnp.float32) / 255
    crop_key, colour_key = jax.random.split(key)
    cropped = random_crop(flat, crop_key)
    coloured = random_colour(cropped, colour_key)
    return (jnp.clip(coloured, 0, 1) * 255.5).astype(jnp.uint8).reshape(images.shape)


def random_crop(
    images: Float[Array, "B height width 3"], key: Array
) -> Float[Array, "B height width 3"]:
    """A crop of `CROP_AREA` at a random place, resized back (bilinear, corners aligned)."""
    side = CROP_AREA**0.5
    corner = jax.random.uniform(key, (len(images), 2)) * (1 - side)

    def weights(start: Float[Array, "B"], size: int) -> Float[Array, "B height width"]:
        source = (start[:, None] + side * jnp.linspace(0, 1, size)) * (size - 1)
        return jnp.maximum(1 - jnp.abs(source[..., None] - jnp.arange(size)), 0)

    rows, columns = weights(corner[:, 0], images.shape[1]), weights(corner[:, 1], images.shape[2])
    return jnp.einsum("bij,bjkc,blk->bilc", rows, images, columns)


def random_colour(
    images: Float[Array, "B height width 3"], key: Array
) -> Float[Array, "B height width 3"]:
    """Brightness, contrast, saturation and a shift of each channel, drawn per image."""
    keys = jax.random.split(key, 4)

    def draw(key: Array, reach: float, shape: tuple[int, ...] = (1, 1, 1)) -> Array:
        return jax.random.uniform(key, (len(images), *shape), minval=-reach, maxval=reach)

    images = images + draw(keys[0], BRIGHTNESS) + draw(keys[3], COLOUR_SHIFT, (1, 1, 3))
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    images = mean + (images - mean) * (1 + draw(keys[1], CONTRAST))
    grey = images.mean(axis=-1, keepdims=True)
    return grey + (images - grey) * (1 + draw(keys[2], SATURATION))
