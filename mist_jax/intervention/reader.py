"""What may forecast inside the compiled forward, and so open gates: a gating detector's seam."""

from typing import Protocol

from mist_jax.axes import Array, Float, Int


class RiskReader(Protocol):
    """A pytree of arrays that reads one layer of one site; `RiskHead` is one.

    `site` is static: it names one of the model's sites. `layer` is data: the block whose pooled
    activation is read (0-based); -1 reads none, and the risk is zero.
    """

    site: str
    layer: Int[Array, ""]

    def probability(self, activation: Float[Array, "B D"]) -> Float[Array, "B A"]:
        """Calibrated probability that each dimension drives a harmful contact, float32."""
        ...
