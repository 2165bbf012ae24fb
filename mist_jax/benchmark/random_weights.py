"""Random weights of any size, made where they are to lie."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from mist_jax.benchmark.device_layout import DeviceLayout
from mist_jax.errors import UserError
from mist_jax.policy.checkpoint import stored_arrays
from mist_jax.policy.dtypes import FLOAT8
from mist_jax.policy.model import PolicyModel
from mist_jax.policy.run_form import run_form


def random_parameters(
    model: PolicyModel, dtype: Any, layout: DeviceLayout, *, unrolled: bool | None = None
) -> dict[str, Any]:
    """Random weights of a sane scale, made on the devices one array at a time.

    Raises:
        UserError: they do not fit.
    """
    drawn_in = "bfloat16" if dtype == FLOAT8 else dtype
    shapes = {path: leaf.shape for path, leaf in stored_arrays(model, drawn_in).items()}
    shardings = {path: layout.parameter(model, path, s) for path, s in shapes.items()}
    size = sum(
        int(np.prod(shardings[path].shard_shape(shape))) * jnp.dtype(drawn_in).itemsize
        for path, shape in shapes.items()
    )
    if size > (limit := _memory_of(layout.devices[0])):
        raise UserError(
            f"the parameters take {size / 1e9:.1f} GB in {jnp.dtype(drawn_in).name}, a device has "
            f"{limit / 1e9:.1f} GB: choose --dtype=bfloat16, more --devices or a smaller --preset"
        )
    made = {}
    for index, (path, shape) in enumerate(sorted(shapes.items())):
        fan_in = shape[-2] if path.endswith("/kernel") else shape[-1]
        drawn = jax.random.normal(jax.random.key(index), shape, drawn_in)
        scale = jnp.asarray(fan_in**-0.5, drawn_in)
        made[path] = jax.device_put(drawn * scale, shardings[path])
    parameters: dict[str, Any] = traverse_util.unflatten_dict(made, sep="/")
    if dtype == FLOAT8:
        parameters = model.quantise(parameters, donate=True)
    return run_form(model, parameters, unrolled=unrolled)


def _memory_of(device: Any) -> int:
    """Bytes that `device` may hold."""
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
