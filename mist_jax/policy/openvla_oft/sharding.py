"""How a policy's parameters lie on several devices: tensor parallel over one mesh axis.

Each pair of matrices is cut once: the first along its outputs, the second along its inputs, so one
all-reduce ends the pair. Stacked axes are never cut, small arrays are replicated.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

MODEL_AXIS = "model"
OUTPUTS = re.compile(r"(q_proj|k_proj|v_proj|gate_proj|up_proj|fc1|lm_head)/kernel$")
INPUTS = re.compile(r"(o_proj|down_proj|fc2)/kernel$")


def policy_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """One axis over the given devices (default: all of them)."""
    return Mesh(np.asarray(devices or jax.devices()), (MODEL_AXIS,))


def parameter_sharding(mesh: Mesh, path: str, shape: tuple[int, ...]) -> NamedSharding:
    """Where one parameter lies; `path` is its names joined by slashes."""
    ways = mesh.shape[MODEL_AXIS]
    spec: list[str | None] = [None] * len(shape)
    if OUTPUTS.search(path) and shape[-1] % ways == 0:
        spec[-1] = MODEL_AXIS
    elif INPUTS.search(path) and shape[-2] % ways == 0:
        spec[-2] = MODEL_AXIS
    return NamedSharding(mesh, PartitionSpec(*spec))
