"""What one forward gives back, whatever the architecture."""

from typing import Any

from flax import struct

from mist_jax.axes import Array, Float


@struct.dataclass
class ModelOutputs:
    """Arrays on the device.

    `activations` per site, float32: [B, layers, D], or [B, layers, tokens, D] where every token was
    asked for. `risk` and `memory` are None without a risk reader; memory is for the same episodes'
    next query. `gate` is None without operators: how far each layer's activations were moved, as a
    fraction of their norm, summed over the places acted at. `wanted` is None without an operator
    that thinks of actions: the change, in executed units a control step, that all of them wanted.
    """

    actions: Float[Array, "B C A"]  # float32, normalised
    activations: dict[str, Array]
    risk: Float[Array, "B M"] | None = None
    memory: Any = None
    gate: Float[Array, "B L"] | None = None
    wanted: Float[Array, "B A"] | None = None
