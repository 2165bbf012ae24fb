"""The few layers every part of the policy is made of.

Parameters may carry leading `stack` axes: a stack of blocks is one module whose arrays have the
block axis first, run by `scan_blocks`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from mist_jax.axes import Array, Float, Int


class Linear(nnx.Module):
    """y = x W + b, W [*stack, inputs, outputs]."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        rngs: nnx.Rngs,
        stack: tuple[int, ...] = (),
        bias: bool = True,
    ):
        kernel = jax.random.normal(rngs.params(), (*stack, inputs, outputs)) * inputs**-0.5
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(jnp.zeros((*stack, outputs))) if bias else None

    def __call__(self, x: Array) -> Array:
        y = x @ self.kernel[...]
        return y if self.bias is None else y + self.bias[...]


class LayerNorm(nnx.Module):
    """Layer normalisation with affine, computed in float32 as PyTorch's kernel does."""

    def __init__(self, width: int, eps: float, *, stack: tuple[int, ...] = ()):
        self.weight = nnx.Param(jnp.ones((*stack, width)))
        self.bias = nnx.Param(jnp.zeros((*stack, width)))
        self.eps = eps

    def __call__(self, x: Array) -> Array:
        full = x.astype(jnp.float32)
        centred = full - full.mean(-1, keepdims=True)
        normal = centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + self.eps)
        weight, bias = self.weight[...], self.bias[...]
        return (normal * weight.astype(jnp.float32) + bias.astype(jnp.float32)).astype(x.dtype)


class RMSNorm(nnx.Module):
    """Llama's norm: float32 inside, cast, then times the weight in the model's dtype."""

    def __init__(self, width: int, eps: float, *, stack: tuple[int, ...] = ()):
        self.weight = nnx.Param(jnp.ones((*stack, width)))
        self.eps = eps

    def __call__(self, x: Array) -> Array:
        full = x.astype(jnp.float32)
        normal = full * jax.lax.rsqrt(jnp.square(full).mean(-1, keepdims=True) + self.eps)
        return normal.astype(x.dtype) * self.weight[...]


def gelu(x: Array) -> Array:
    """The exact (erf) GELU, which both towers and both projectors use."""
    return jax.nn.gelu(x, approximate=False)


def attention(
    query: Float[Array, "B T H K"],
    key: Float[Array, "B S H K"],
    value: Float[Array, "B S H K"],
    key_length: Int[Array, "B"] | None = None,
) -> Float[Array, "B T H K"]:
    """Bidirectional softmax attention; keys from `key_length` on are padding and hidden.

    cuDNN's fused kernel takes half precision only, and even lengths only where it is
    differentiated; elsewhere XLA's own.
    """
    half = query.dtype == jnp.bfloat16
    fused = half and query.shape[1] % 2 == 0 and jax.default_backend() == "gpu"
    return jax.nn.dot_product_attention(
        query,
        key,
        value,
        key_value_seq_lengths=key_length,
        implementation="cudnn" if fused else "xla",
    )


def scan_blocks(
    blocks: nnx.Module,
    body: Callable[[Any, Any, Any], tuple[Any, Any]],
    carry: Any,
    inputs: Any = None,
) -> tuple[Any, Any]:
    """Run `body(block, carry, input)` over the leading axis of a stacked module, compiled once."""
    graph, stacked = nnx.split(blocks)

    def step(carry: Any, scanned: tuple[Any, Any]) -> tuple[Any, Any]:
        parameters, value = scanned
        return body(nnx.merge(graph, parameters), carry, value)

    return jax.lax.scan(step, carry, (stacked, inputs))
