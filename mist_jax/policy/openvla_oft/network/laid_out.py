"""Parameters as the forward runs them fastest: each layer's matrices arrays of their own.

A scan over a stack [L, ...] copies each layer's matrix out of it before the product, because a
product is an opaque call: on one H100, 362 TFLOP/s at 608 rows in place of 610. And matrices that
one input is multiplied with are laid side by side, so that their products are one: those of query,
key and value, and those of gate and up. On disk and in training they are stacks.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mist_jax.axes import Array
from mist_jax.policy.openvla_oft.network.float8 import CODES, SCALE, stack_of
from mist_jax.policy.openvla_oft.network.sharding import parameter_sharding

JOINED: Mapping[str, tuple[str, ...]] = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}
STACKS = frozenset({"blocks", "beginning"})
APART = ("kernel", CODES, SCALE)
"""What is worth an array for each layer; of other vectors a slice of the stack is read in place."""


def lay_out(parameters: Mapping[str, Any], *, donate: bool = False) -> dict[str, Any]:
    """Stored parameters as the unrolled forward takes them (see `run_blocks`).

    A matrix of a stack becomes a tuple of L arrays, and so do its scales; `q_proj`, `k_proj` and
    `v_proj` [K, N] become `qkv_proj` [K, 3, N], and so on. `donate` deletes a stack when its layers
    are made, so that at no time more than one stack is there twice.
    """
    flat: Any = traverse_util.flatten_dict(dict(parameters))
    made = {}
    for path, leaf in flat.items():
        *where, name, kind = path
        whole = next((whole for whole, parts in JOINED.items() if name in parts), None)
        if not STACKS.intersection(path) or kind not in APART:
            made[path] = leaf
            continue
        parts = [leaf]
        if whole is not None:
            if name != JOINED[whole][0]:
                continue
            parts = [flat[(*where, part, kind)] for part in JOINED[whole]]
        target = (*where, name if whole is None else whole, kind)
        made[target] = _layers(parts, "/".join(target))
        if donate:
            for part in parts:
                part.delete()
    return traverse_util.unflatten_dict(made)


def matrix_of(parameters: Mapping[str, Any], name: str, layer: int) -> Array:
    """The matrix [K, N] of that name of one block of the language model, in any form, float32."""
    language = parameters["language"]
    stack, block = stack_of(layer) if "beginning" in language else ("blocks", layer)
    linear = language[stack][name]
    if CODES not in linear:
        return jnp.asarray(linear["kernel"][block], jnp.float32)
    scale = linear["scale"][block][..., None]
    return (jnp.asarray(linear[CODES][block], jnp.float32) * scale).T


def _layers(parts: Sequence[Any], path: str) -> tuple[Array, ...]:
    """Each layer's matrix, of stacks to be laid side by side."""
    axis = -3 if path.endswith(CODES) else -2
    sharding = None if isinstance(parts[0], Tracer) else parts[0].sharding
    if sharding is not None and [device.platform for device in sharding.device_set] == ["cpu"]:
        hosts = [np.asarray(part) for part in parts]  # compiles nothing

        def made(index: int) -> Array:
            rows = [host[index] for host in hosts]
            return jnp.array(rows[0] if len(rows) == 1 else np.stack(rows, axis), copy=True)

        return tuple(made(index) for index in range(len(hosts[0])))
    place = None
    if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, Mesh):
        shape = jax.eval_shape(partial(_layer, axis=axis), parts, 0).shape
        place = NamedSharding(sharding.mesh, PartitionSpec())  # each device has all weights
        if not sharding.is_fully_replicated:
            place = parameter_sharding(sharding.mesh, path, shape)
    one = jax.jit(partial(_layer, axis=axis), out_shardings=place)
    return tuple(one(parts, index) for index in range(len(parts[0])))


def _layer(parts: Sequence[Array], index: Any, *, axis: int) -> Array:
    rows = [jax.lax.dynamic_index_in_dim(part, index, keepdims=False) for part in parts]
    return rows[0] if len(rows) == 1 else jnp.stack(rows, axis)
