"""How a query is spread over devices: its weights (tensor parallel) or its examples (data)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mist_jax.policy.mesh import MODEL_AXIS, policy_mesh
from mist_jax.policy.model import PolicyModel

Parallel = Literal["tensor", "data"]


@dataclass(frozen=True)
class DeviceLayout:
    """`tensor`: one batch, each device its part of the weights. `data`: a batch for each device,
    which has all weights. On one device they are the same.
    """

    devices: tuple[Any, ...]
    parallel: Parallel = "tensor"

    @classmethod
    def of(cls, devices: Sequence[Any], parallel: Parallel = "tensor") -> "DeviceLayout":
        """Over these devices."""
        return cls(tuple(devices), parallel if len(devices) > 1 else "tensor")

    @property
    def name(self) -> str:
        """Such as `2 tensor`; `1` on one device."""
        count = len(self.devices)
        return f"{count} {self.parallel}" if count > 1 else "1"

    @property
    def mesh(self) -> Mesh:
        """Of its devices, along the one axis that there is."""
        return policy_mesh(self.devices)

    def examples(self, batch: int) -> int:
        """Examples in one query, of `batch` for whatever has all weights."""
        return batch * len(self.devices) if self.parallel == "data" else batch

    def parameter(self, model: PolicyModel, path: str, shape: tuple[int, ...]) -> NamedSharding:
        """Where a parameter lies."""
        if self.parallel == "data":
            return NamedSharding(self.mesh, PartitionSpec())
        return model.parameter_sharding(self.mesh, path, shape)

    def place(self, inputs: Any) -> Any:
        """Inputs on the host, sent to where the query wants them."""
        if len(self.devices) == 1:
            return inputs
        split = self.parallel == "data"

        def put(leaf: Any) -> jax.Array:
            axes = (MODEL_AXIS,) if split and np.ndim(leaf) else ()
            return jax.device_put(leaf, NamedSharding(self.mesh, PartitionSpec(*axes)))

        return jax.tree.map(put, inputs)
