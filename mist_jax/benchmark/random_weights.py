"""Random weights of any size, made where they are to lie."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from mist_jax.benchmark.layout import Layout
from mist_jax.errors import UserError
from mist_jax.policy.model import PolicyModel


def random_parameters(model: PolicyModel, dtype: Any, layout: Layout) -> dict[str, Any]:
    """Random weights of a sane scale, made on the devices one array at a time.

    Raises:
        UserError: they do not fit.
    """
    abstract: Any = traverse_util.flatten_dict(model.abstract_parameters(), sep="/")
    shapes = {path: tuple(leaf.shape) for path, leaf in abstract.items()}
    shardings = {path: layout.parameter(model, path, s) for path, s in shapes.items()}
    size = sum(
        int(np.prod(shardings[path].shard_shape(shape))) * jnp.dtype(dtype).itemsize
        for path, shape in shapes.items()
    )
    if size > (limit := _memory_of(layout.devices[0])):
        raise UserError(
            f"the parameters take {size / 1e9:.1f} GB in {jnp.dtype(dtype).name}, a device has "
            f"{limit / 1e9:.1f} GB: choose --dtype=bfloat16, more --devices or a smaller --preset"
        )
    made = {}
    for index, (path, shape) in enumerate(sorted(shapes.items())):
        fan_in = shape[-2] if path.endswith("/kernel") else shape[-1]
        drawn = jax.random.normal(jax.random.key(index), shape, dtype)
        made[path] = jax.device_put(drawn * jnp.asarray(fan_in**-0.5, dtype), shardings[path])
    return traverse_util.unflatten_dict(made, sep="/")


def _memory_of(device: Any) -> int:
    """Bytes that `device` may hold."""
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
