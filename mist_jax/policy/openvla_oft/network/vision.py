"""The two vision towers and the projector into the language model (OpenVLA's fused backbone)."""

from collections.abc import Sequence
from functools import partial

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from mist_jax.axes import Array, Float, Int, UInt8
from mist_jax.intervention.site import NOTHING, Pool, Watch
from mist_jax.policy.openvla_oft.network.config import OpenVLAOFTConfig, VisionTowerConfig
from mist_jax.policy.openvla_oft.network.form import AttentionKernel, Form
from mist_jax.policy.openvla_oft.network.layers import (
    LayerNorm,
    Linear,
    attention,
    cudnn_attends,
    gelu,
    run_blocks,
)
from mist_jax.policy.openvla_oft.network.spreading import cut, each_its_own, whole

_ROWS = 8  # what a GPU's kernels want the number of tokens to be a multiple of


class Film(nnx.Module):
    """FiLM of one block: the mean instruction embedding scales and shifts the residual stream."""

    def __init__(self, text_width: int, width: int, *, rngs: nnx.Rngs, stack: tuple[int, ...]):
        self.scale = Linear(text_width, width, rngs=rngs, stack=stack)
        self.shift = Linear(text_width, width, rngs=rngs, stack=stack)

    def __call__(
        self, x: Float[Array, "B P D"], language: Float[Array, "B text"]
    ) -> Float[Array, "B P D"]:
        return x * (1 + self.scale(language)[:, None]) + self.shift(language)[:, None]


class VisionBlock(nnx.Module):
    """A stack of pre-norm transformer blocks (timm `Block`), scanned."""

    def __init__(
        self, config: VisionTowerConfig, form: Form, *, film_width: int | None, rngs: nnx.Rngs
    ):
        width, stack = config.width, (config.blocks,)
        linear = partial(Linear, rngs=rngs, stack=stack)
        self.norm1 = LayerNorm(width, config.norm_eps, stack=stack)
        self.qkv = linear(width, 3 * width)
        self.proj = linear(width, width)
        self.norm2 = LayerNorm(width, config.norm_eps, stack=stack)
        self.fc1 = linear(width, config.mlp_width)
        self.fc2 = linear(config.mlp_width, width)
        shape = (*stack, width)
        self.scale1 = nnx.Param(jnp.full(shape, 0.1, jnp.float32)) if config.layer_scale else None
        self.scale2 = nnx.Param(jnp.full(shape, 0.1, jnp.float32)) if config.layer_scale else None
        self.film = None if film_width is None else Film(film_width, width, rngs=rngs, stack=stack)
        self.heads = config.heads
        self.kernel: AttentionKernel = form.attention
        self.mesh = form.mesh

    def __call__(
        self,
        x: Float[Array, "B P D"],
        language: Float[Array, "B text"] | None,
        key_length: Int[Array, "B"] | None = None,
    ) -> Float[Array, "B P D"]:
        batch, patches, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, patches, 3, self.heads, width // self.heads)
        query, key, value = (qkv[:, :, part] for part in range(3))
        attend = partial(attention, kernel=self.kernel)
        parts = (query, key, value) if key_length is None else (query, key, value, key_length)
        mixed = each_its_own(attend, self.mesh, (0,) * len(parts), *parts)
        mixed = self.proj(mixed.reshape(batch, patches, width))
        x = x + (mixed if self.scale1 is None else mixed * self.scale1[...])
        if self.film is not None and language is not None:
            x = self.film(x, language)
        fed = self.fc2(gelu(self.fc1(self.norm2(x))))
        return x + (fed if self.scale2 is None else fed * self.scale2[...])


class VisionTower(nnx.Module):
    """Patch and position embedding, prefix tokens, blocks; no final norm, the prefix is dropped."""

    def __init__(
        self,
        config: VisionTowerConfig,
        form: Form,
        *,
        image_size: int,
        film_width: int | None,
        rngs: nnx.Rngs,
    ):
        grid = image_size // config.patch_size
        self.patch = Linear(3 * config.patch_size**2, config.width, rngs=rngs)
        self.position = nnx.Param(
            nnx.initializers.normal(0.02)(rngs.params(), (grid**2, config.width))
        )
        self.prefix = (
            nnx.Param(
                nnx.initializers.normal(0.02)(rngs.params(), (config.prefix_tokens, config.width))
            )
            if config.prefix_tokens
            else None
        )
        self.blocks = VisionBlock(config, form, film_width=film_width, rngs=rngs)
        self.config = config

    def __call__(
        self,
        images: UInt8[Array, "B height width 3"],
        language: Float[Array, "B text"] | None,
        views: int = 1,
        pools: Sequence[Pool] = (),
    ) -> tuple[Float[Array, "B P D"], dict[Pool, Array]]:
        """The last block's patches, and every block's pooled as `pools` say, [B / views, L, ...].

        `views` consecutive images belong to one example.
        """
        dtype = self.position[...].dtype
        pixels = normalise_pixels(images, self.config.mean, self.config.std, dtype)
        x = self.patch(patchify(pixels, self.config.patch_size)) + self.position[...]
        if self.prefix is not None:
            prefix = jnp.broadcast_to(self.prefix[...], (len(x), *self.prefix[...].shape))
            x = jnp.concatenate([prefix, x], axis=1)
        first, length, key_length = self.config.prefix_tokens, x.shape[1], None
        if length % _ROWS and cudnn_attends(self.blocks.kernel, x.dtype):
            key_length = jnp.full(len(x), length)
            x = jnp.pad(x, ((0, 0), (0, -length % _ROWS), (0, 0)))

        def body(block: VisionBlock, x: Array, _: None) -> tuple[Array, dict[Pool, Array]]:
            x = block(x, language, key_length)
            return x, {pool: pool_patches(x[:, first:length], views, pool) for pool in pools}

        x, seen = run_blocks(self.blocks, body, x)
        return x[:, first:length], {pool: jnp.moveaxis(value, 0, 1) for pool, value in seen.items()}


def pool_patches(x: Float[Array, "BI P D"], views: int, pool: Pool) -> Array:
    """Patches of all views of an example, float32 [B, I*P, D], or their mean [B, D]."""
    tokens = x.reshape(-1, views * x.shape[1], x.shape[2]).astype(jnp.float32)
    return tokens.mean(axis=1) if pool == "mean" else tokens


def normalise_pixels(
    images: UInt8[Array, "B height width 3"],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    dtype: DTypeLike,
) -> Float[Array, "B height width 3"]:
    """(u8 / 255 - mean) / std in float32, as the published processor does before it casts."""
    unit = images.astype(jnp.float32) / 255
    return ((unit - jnp.asarray(mean)) / jnp.asarray(std)).astype(dtype)


def patchify(pixels: Float[Array, "B height width 3"], patch: int) -> Float[Array, "B P features"]:
    """Non-overlapping patches in row-major order, flattened as (row, column, colour)."""
    batch, height, width, colours = pixels.shape
    rows, columns = height // patch, width // patch
    split = pixels.reshape(batch, rows, patch, columns, patch, colours)
    return split.swapaxes(2, 3).reshape(batch, rows * columns, patch * patch * colours)


class Projector(nnx.Module):
    """Three linear layers with GELU between them: fused patch features to the language width."""

    def __init__(self, config: OpenVLAOFTConfig, *, rngs: nnx.Rngs):
        fused = config.dino.width + config.siglip.width
        self.fc1 = Linear(fused, config.projector_width, rngs=rngs)
        self.fc2 = Linear(config.projector_width, config.width, rngs=rngs)
        self.fc3 = Linear(config.width, config.width, rngs=rngs)

    def __call__(self, features: Float[Array, "B P features"]) -> Float[Array, "B P D"]:
        return self.fc3(gelu(self.fc2(gelu(self.fc1(features)))))


class VisionBackbone(nnx.Module):
    """Every camera image through both towers, fused on features and projected.

    Output [B, I*P, D]: primary image first. DINOv2 comes first in the fused features.
    """

    def __init__(self, config: OpenVLAOFTConfig, form: Form, *, rngs: nnx.Rngs):
        film_width = config.width if config.film else None
        tower = partial(VisionTower, image_size=config.image_size, film_width=film_width, rngs=rngs)
        self.dino = tower(config.dino, form)
        self.siglip = tower(config.siglip, form)
        self.projector = Projector(config, rngs=rngs)
        self.mesh = form.mesh

    def features(
        self,
        images: UInt8[Array, "B I height width 3"],
        language: Float[Array, "B D"] | None,
        watch: Watch = NOTHING,
    ) -> tuple[Float[Array, "B IP features"], dict[str, dict[Pool, Array]]]:
        """Fused features of all images' patches before the projector, and what `watch` keeps."""
        batch, views = images.shape[:2]
        flat = cut(images.reshape(batch * views, *images.shape[2:]), self.mesh, 0)
        repeated = None if language is None else jnp.repeat(language, views, axis=0)
        seen, parts = {}, []
        for tower, site in ((self.dino, "vision.dino"), (self.siglip, "vision.siglip")):
            part, seen[site] = tower(flat, repeated, views, watch.pools(site))
            parts.append(part)
        fused = jnp.concatenate(parts, axis=-1)
        return fused.reshape(batch, views * fused.shape[1], fused.shape[2]), seen

    def __call__(
        self,
        images: UInt8[Array, "B I height width 3"],
        language: Float[Array, "B D"] | None = None,
        watch: Watch = NOTHING,
    ) -> tuple[Float[Array, "B IP D"], dict[str, dict[Pool, Array]]]:
        fused, seen = self.features(images, language, watch)
        projected = whole(self.projector(fused), self.mesh)
        # [:, None]: the projector is a site of one layer; its patches are one example's already.
        seen["vision.projector"] = {
            pool: pool_patches(projected, 1, pool)[:, None]
            for pool in watch.pools("vision.projector")
        }
        return projected, seen
