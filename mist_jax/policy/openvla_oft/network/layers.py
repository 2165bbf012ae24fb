"""The few layers every part of the policy is made of.

Parameters may carry leading `stack` axes: a stack of blocks is one module whose arrays have the
block axis first, run by `run_blocks`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from mist_jax.axes import Array, Float, Int
from mist_jax.policy.openvla_oft.network.float8 import FLOAT8, float8_product
from mist_jax.policy.openvla_oft.network.form import AttentionKernel


class Linear(nnx.Module):
    """y = x W + b, W [*stack, inputs, *outputs]; or W in float8 [*stack, *outputs, inputs]."""

    def __init__(
        self,
        inputs: int,
        *outputs: int,
        rngs: nnx.Rngs,
        stack: tuple[int, ...] = (),
        bias: bool = True,
        float8: bool = False,
    ):
        def drawn() -> Array:
            return jax.random.normal(rngs.params(), (*stack, inputs, *outputs)) * inputs**-0.5

        codes, scale = (*stack, *outputs, inputs), (*stack, *outputs)
        self.kernel = None if float8 else nnx.Param(drawn())
        self.float8 = nnx.Param(jnp.zeros(codes, FLOAT8)) if float8 else None
        self.scale = nnx.Param(jnp.ones(scale, jnp.float32)) if float8 else None
        self.bias = nnx.Param(jnp.zeros((*stack, *outputs))) if bias else None

    def __call__(self, x: Array) -> Array:
        if self.float8 is None or self.scale is None:
            assert self.kernel is not None
            y = jnp.tensordot(x, self.kernel[...], 1)
        else:
            y = float8_product(x, self.float8[...], self.scale[...])
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
    """The exact (erf) GELU, computed in float32 as PyTorch's kernel does."""
    full = x.astype(jnp.float32)
    return (0.5 * full * (1 + jax.lax.erf(full * 0.5**0.5))).astype(x.dtype)


_HEADS_OF = 8  # cuDNN's heads are as wide as a multiple of it


def attention(
    query: Float[Array, "B T H K"],
    key: Float[Array, "B S H K"],
    value: Float[Array, "B S H K"],
    key_length: Int[Array, "B"] | None = None,
    kernel: AttentionKernel = "cudnn",
) -> Float[Array, "B T H K"]:
    """Bidirectional softmax attention; keys from `key_length` on are padding and hidden.

    cuDNN's fused kernel is taken where `kernel` allows it (see `cudnn_attends`), lengths are even
    (not every version of it can differentiate others) and heads are of a size that it knows.
    Elsewhere XLA's own, which is the reference. On a CPU one head of one example follows another:
    their scores stay in the cache, where those of a batch are moved through memory several times
    over.
    """
    if jax.default_backend() == "cpu":
        return _head_by_head(query, key, value, key_length)
    even = query.shape[1] % 2 == key.shape[1] % 2 == 0
    fused = even and query.shape[-1] % _HEADS_OF == 0 and cudnn_attends(kernel, query.dtype)
    return jax.nn.dot_product_attention(
        query,
        key,
        value,
        key_value_seq_lengths=key_length,
        implementation="cudnn" if fused else "xla",
    )


def cudnn_attends(kernel: AttentionKernel, dtype: DTypeLike) -> bool:
    """Whether attention is cuDNN's: in half precision on a GPU, unless `xla` is asked for."""
    return kernel == "cudnn" and dtype == jnp.bfloat16 and jax.default_backend() == "gpu"


def _head_by_head(query: Array, key: Array, value: Array, key_length: Array | None) -> Array:
    batch, length, heads, width = query.shape

    def one(parts: tuple[Array, Array, Array, Array | None]) -> Array:
        alone = (part[:, None] for part in parts[:3])
        seen = parts[3]
        return jax.nn.dot_product_attention(
            *alone, key_value_seq_lengths=None if seen is None else seen[None]
        )[:, 0]

    apart = (x.swapaxes(1, 2).reshape(-1, x.shape[1], width) for x in (query, key, value))
    lengths = None if key_length is None else jnp.repeat(key_length, heads)
    mixed = jax.lax.map(one, (*apart, lengths))
    return mixed.reshape(batch, heads, length, width).swapaxes(1, 2)


def run_blocks(
    blocks: nnx.Module,
    body: Callable[..., tuple[Any, Any]],
    carry: Any,
    inputs: Any = None,
    own: Callable[[int], Callable[..., tuple[Any, Any]]] | None = None,
) -> tuple[Any, Any]:
    """Run `body(block, carry, input)` over the blocks of a module, and stack its second outputs.

    Where every parameter is one array [L, ...] the blocks are scanned: one body is compiled, and
    each turn copies its block's weights out of the stack. Where any parameter is a tuple of L
    arrays the loop is unrolled, which copies nothing; `own` then may give each block a body of its
    own, and blocks that it gives the same one share its trace.
    """
    graph, parameters = nnx.split(blocks)

    def step(
        body: Callable[..., tuple[Any, Any]], carry: Any, scanned: tuple[Any, Any]
    ) -> tuple[Any, Any]:
        block, value = scanned
        return body(nnx.merge(graph, block), carry, value)

    count = _apart(parameters)
    if count is None:
        return jax.lax.scan(partial(step, body), carry, (parameters, inputs))
    bodies = [body if own is None else own(index) for index in range(count)]
    traced, collected = {one: jax.jit(partial(step, one)) for one in bodies}, []
    for index, one in enumerate(bodies):
        each = partial(jax.tree.map, lambda leaf, index=index: leaf[index])
        scanned = each(parameters, is_leaf=_is_tuple), each(inputs)
        carry, seen = traced[one](carry, scanned)
        # As a scan's carry: else XLA may skip a rounding to bfloat16 in one program alone.
        carry = jax.lax.optimization_barrier(carry)
        collected.append(seen)
    return carry, jax.tree.map(lambda *layers: jnp.stack(layers), *collected)


def run_stacks(
    stacks: Sequence[nnx.Module],
    body: Callable[..., tuple[Any, Any]],
    carry: Any,
    inputs: Any,
    own: Callable[[int], Callable[..., tuple[Any, Any]]],
) -> tuple[Any, Any]:
    """As `run_blocks`, over the blocks of one stack after another, numbered throughout."""
    begin, collected = 0, []
    for blocks in stacks:
        end = begin + block_count(blocks)
        part = jax.tree.map(lambda leaf, begin=begin, end=end: leaf[begin:end], inputs)
        numbered = partial(lambda begin, index: own(begin + index), begin)
        carry, seen = run_blocks(blocks, body, carry, part, numbered)
        collected.append(seen)
        begin = end
    if len(collected) == 1:
        return carry, collected[0]
    return carry, jax.tree.map(lambda *parts: jnp.concatenate(parts), *collected)


def block_count(blocks: nnx.Module) -> int:
    """Of a stack in either form."""
    _, parameters = nnx.split(blocks)
    return len(jax.tree.leaves(parameters, is_leaf=_is_tuple)[0])


def one_block(blocks: nnx.Module, index: int) -> Any:
    """Block `index` alone of a stack in either form, as `run_blocks` gives it to a body."""
    graph, parameters = nnx.split(blocks)
    return nnx.merge(graph, jax.tree.map(lambda leaf: leaf[index], parameters, is_leaf=_is_tuple))


def _apart(parameters: Any) -> int | None:
    """How many arrays a parameter is that is not one; None where each is."""
    leaves = jax.tree.leaves(parameters, is_leaf=_is_tuple)
    return next((len(leaf) for leaf in leaves if _is_tuple(leaf)), None)


def _is_tuple(leaf: Any) -> bool:
    return type(leaf) is tuple
