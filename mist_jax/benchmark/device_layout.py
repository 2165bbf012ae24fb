"""How a query is spread over devices: its weights (tensor parallel), examples (data) or tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mist_jax.policy.mesh import MODEL_AXIS, policy_mesh
from mist_jax.policy.model import PolicyModel

Parallel = Literal["tensor", "data", "tokens"]


@dataclass(frozen=True)
class DeviceLayout:
    """`tensor`: one batch, each device its part of the weights. `data`: a batch for each device,
    which has all weights. `tokens`: one batch, each device all weights and its part of the tokens.
    On one device they are the same.
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

    def run(self, model: PolicyModel) -> PolicyModel:
        """The model as it is run on its devices."""
        return model.spread_over(self.mesh) if self.parallel == "tokens" else model

    def parameter(self, model: PolicyModel, path: str, shape: tuple[int, ...]) -> NamedSharding:
        """Where a parameter lies."""
        if self.parallel == "data":
            return NamedSharding(self.mesh, PartitionSpec())
        return self.run(model).parameter_sharding(self.mesh, path, shape)

    def shaped(self, inputs: Any) -> Any:
        """Shapes of inputs, and where a query compiled for them sends those on the host."""
        split = self.parallel == "data"

        def shape(leaf: Any) -> jax.ShapeDtypeStruct:
            axes = (MODEL_AXIS,) if split and np.ndim(leaf) else ()
            place = NamedSharding(self.mesh, PartitionSpec(*axes))
            return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=place)

        return jax.tree.map(shape, inputs)
