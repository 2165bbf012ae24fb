"""How a policy's parameters lie on several devices: tensor parallel over one mesh axis.

Each pair of matrices is cut once: the first along its outputs, the second along its inputs, so one
all-reduce ends the pair. Stacked axes are never cut, small arrays are replicated.
"""

import re

from jax.sharding import Mesh, NamedSharding, PartitionSpec

OUTPUTS = re.compile(
    r"(q_proj|k_proj|v_proj|qkv_proj|gate_proj|up_proj|gate_up_proj|fc1|lm_head)/(\w+)$"
)
INPUTS = re.compile(r"(o_proj|down_proj|fc2)/(\w+)$")
OUTPUT_AXIS = {"kernel": -1, "float8": -2, "scale": -1}
INPUT_AXIS = {"kernel": -2, "float8": -1}


def parameter_sharding(mesh: Mesh, path: str, shape: tuple[int, ...]) -> NamedSharding:
    """Where one parameter lies on a mesh of one axis; `path` is its names joined by slashes."""
    [name] = mesh.axis_names
    ways = mesh.shape[name]
    spec: list[str | None] = [None] * len(shape)
    for pattern, axes in ((OUTPUTS, OUTPUT_AXIS), (INPUTS, INPUT_AXIS)):
        found = pattern.search(path)
        axis = axes.get(found[2]) if found else None
        if axis is not None and shape[axis] % ways == 0:
            spec[axis] = name
    return NamedSharding(mesh, PartitionSpec(*spec))
