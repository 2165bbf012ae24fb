"""One query spread over several devices, each of which has all weights.

Every device computes the towers for its images and the blocks for its tokens; of a block it needs
nothing of the others but their keys and values. What lies between, such as operators at a site, is
computed by every device as if it were alone. Without a mesh all of this is nothing.
"""

from collections.abc import Callable, Sequence

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mist_jax.axes import Array

WHOLE = None
"""In place of an axis that is cut: every device has all of the array."""


def whole(x: Array, mesh: Mesh | None) -> Array:
    """`x` gathered on every device."""
    return x if mesh is None else _placed(x, mesh, WHOLE)


def cut(x: Array, mesh: Mesh | None, axis: int) -> Array:
    """To each device its part of `x` along `axis`; all of it where it does not divide."""
    x = whole(x, mesh)  # else XLA cuts what makes it, too, a cumulative sum over tokens for one
    return x if mesh is None or x.shape[axis] % mesh.size else _placed(x, mesh, axis)


def each_its_own(
    attend: Callable[..., Array], mesh: Mesh | None, axes: Sequence[int | None], *arrays: Array
) -> Array:
    """`attend(*arrays)` on every device by itself, for arrays cut along `axes`.

    The result is cut as the first array is. Where an axis does not divide, nothing is cut.
    """
    if mesh is None:
        return attend(*arrays)
    pairs = list(zip(arrays, axes, strict=True))
    if any(axis is not None and x.shape[axis] % mesh.size for x, axis in pairs):
        return attend(*(whole(x, mesh) for x in arrays))
    specs = tuple(_spec(mesh, axis) for axis in axes)
    return jax.shard_map(attend, mesh=mesh, in_specs=specs, out_specs=specs[0], check_vma=False)(
        *arrays
    )


def _placed(x: Array, mesh: Mesh, axis: int | None) -> Array:
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, _spec(mesh, axis)))


def _spec(mesh: Mesh, axis: int | None) -> PartitionSpec:
    return PartitionSpec() if axis is None else PartitionSpec(*(None,) * axis, *mesh.axis_names)
