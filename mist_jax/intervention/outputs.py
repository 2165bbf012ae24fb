"""What one forward gives back, whatever the architecture."""

from flax import struct

from mist_jax.axes import Array, Float


@struct.dataclass
class ModelOutputs:
    """Arrays on the device.

    `activations` per site, float32: [B, layers, D], or [B, layers, tokens, D] where every token was
    asked for. `risk` is None without a risk reader, `gate` without operators: how far each layer's
    activations were moved, as a fraction of their norm, summed over the places acted at.
    """

    actions: Float[Array, "B C A"]  # float32, normalised
    activations: dict[str, Array]
    risk: Float[Array, "B A"] | None = None
    gate: Float[Array, "B L"] | None = None
