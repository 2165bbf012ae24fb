"""How a policy's parameters lie on several devices: tensor parallel over one mesh axis.

Each pair of matrices is cut once: the first along its outputs, the second along its inputs, so one
all-reduce ends the pair. Stacked axes are never cut, small arrays are replicated.
"""

import re

from jax.sharding import Mesh, NamedSharding, PartitionSpec

OUTPUTS = re.compile(r"(q_proj|k_proj|v_proj|gate_proj|up_proj|fc1|lm_head)/kernel$")
INPUTS = re.compile(r"(o_proj|down_proj|fc2)/kernel$")


def parameter_sharding(mesh: Mesh, path: str, shape: tuple[int, ...]) -> NamedSharding:
    """Where one parameter lies on a mesh of one axis; `path` is its names joined by slashes."""
    [axis] = mesh.axis_names
    ways = mesh.shape[axis]
    spec: list[str | None] = [None] * len(shape)
    if OUTPUTS.search(path) and shape[-1] % ways == 0:
        spec[-1] = axis
    elif INPUTS.search(path) and shape[-2] % ways == 0:
        spec[-2] = axis
    return NamedSharding(mesh, PartitionSpec(*spec))
