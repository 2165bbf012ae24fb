"""Large products in float8 (e4m3): weights quantised once, activations at every product.

W [K, N] is kept as codes [N, K] and a float32 scale for each output; a row of activations gets its
own scale on the fly. Both operands contract their last axis and the scales are applied after the
product: the form in which XLA calls cuBLASLt's float8 kernels. As in Micikevicius et al., "FP8
formats for deep learning" (2022), 448 is the largest magnitude and a rounding is off by up to 1/16
of its value.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from mist_jax.axes import Array, Float

CODES, SCALE = "float8", "scale"
FLOAT8 = jnp.float8_e4m3fn
LARGEST = 448.0
QUANTISED = re.compile(r"^language/blocks/(q|k|v|o|gate|up|down)_proj/kernel$")
"""The products that are worth it: nine tenths of the 7B's arithmetic.

The towers' are not: at batch 1 quantising their rows takes longer than it saves (PERFORMANCE.md).
"""
KEPT = 1
"""Blocks at the beginning that stay bfloat16: most of the error is theirs (docs/float8.md)."""


def quantised(rows: Float[Array, "*rows features"]) -> tuple[Array, Float[Array, "*rows"]]:
    """Codes of each row, and the float32 scale to multiply them with."""
    full = rows.astype(jnp.float32)
    # Made once: else XLA computes what leads to it again wherever the scale is used.
    peak = jax.lax.optimization_barrier(jnp.abs(full).max(axis=-1))
    scale = jnp.where(peak > 0, peak, 1) / LARGEST
    return (full / scale[..., None]).astype(FLOAT8), scale


@jax.custom_vjp
def float8_product(x: Array, codes: Array, scale: Array) -> Array:
    """x [..., K] times quantised weights, codes [*N, K]: [..., *N] in the dtype of x.

    The gradient is that of the product with the quantised weights, as though x had not been
    rounded.
    """
    rows, row_scale = quantised(x)
    last = ((x.ndim - 1,), (codes.ndim - 1,))
    product = jax.lax.dot_general(rows, codes, (last, ((), ())), preferred_element_type=x.dtype)
    beside = row_scale.reshape(*row_scale.shape, *(1,) * scale.ndim)
    return (product.astype(jnp.float32) * (beside * scale)).astype(x.dtype)


def _forward(x: Array, codes: Array, scale: Array) -> tuple[Array, tuple[Array, Array]]:
    return float8_product(x, codes, scale), (codes, scale)


def _backward(residual: tuple[Array, Array], slope: Array) -> tuple[Array, None, None]:
    codes, scale = residual
    scaled = (slope.astype(jnp.float32) * scale).astype(slope.dtype)
    return jnp.tensordot(scaled, codes.astype(slope.dtype), scale.ndim), None, None


float8_product.defvjp(_forward, _backward)


def quantise(parameters: Mapping[str, Any], *, donate: bool = False) -> dict[str, Any]:
    """Stored parameters with the large products' kernels in float8 and all others in bfloat16.

    The first blocks of the language model's stack become a stack of their own, all bfloat16. Of the
    others a kernel [*stack, K, N] becomes `float8` [*stack, N, K] and `scale` [*stack, N]. `donate`
    deletes each array when its own is made, so that no two copies are in memory.
    """
    flat: Any = traverse_util.flatten_dict(dict(parameters), sep="/")
    made: dict[str, Any] = {}
    for path, leaf in flat.items():
        rest = leaf
        if (kept := beginning(path)) is not None:
            made[kept] = leaf[:KEPT].astype(jnp.bfloat16)
            rest = leaf[KEPT:]
        if QUANTISED.search(path):
            made |= quantised_kernel(path, rest)
        else:
            made[path] = rest if rest.dtype == jnp.bfloat16 else rest.astype(jnp.bfloat16)
        if donate and made.get(path) is not leaf:
            leaf.delete()
    return traverse_util.unflatten_dict(made, sep="/")


def beginning(path: str) -> str | None:
    """Where the first blocks of a stored parameter are in float8; None where it is no block's."""
    within = path.removeprefix("language/blocks/")
    return None if within == path else f"language/beginning/{within}"


def stack_of(layer: int) -> tuple[str, int]:
    """Which stack of the language model has a layer in float8, and which block of it is that."""
    return ("beginning", layer) if layer < KEPT else ("blocks", layer - KEPT)


def quantised_kernel(path: str, kernel: Any) -> dict[str, Array]:
    """What takes the place of the kernel [*stack, K, N] at `path`, by path."""
    beside = path.removesuffix("kernel")
    codes, scale = _quantised_columns(kernel)
    return {beside + CODES: codes, beside + SCALE: scale}


@jax.jit
def _quantised_columns(kernel: Array) -> tuple[Array, Array]:
    """Matrix by matrix: XLA tries its kernels on all that it is given at once."""
    codes, scale = jax.lax.map(
        lambda matrix: quantised(matrix.T), kernel.reshape(-1, *kernel.shape[-2:])
    )
    stack = kernel.shape[:-2]
    return codes.reshape(*stack, *codes.shape[1:]), scale.reshape(*stack, *scale.shape[1:])
