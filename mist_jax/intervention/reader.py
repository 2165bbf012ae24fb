"""What may forecast inside the compiled forward, and so open gates: a gating detector's seam."""

from typing import Protocol

from mist_jax.axes import Array, Float, Int


class RiskReader(Protocol):
    """A pytree of arrays that reads one layer of one site; `RiskHead` is one.

    `site` is static: it names one of the model's sites, read pooled by the mean. `layer` is data:
    the layer of that site (0-based); -1 reads none, and the risk is zero.
    """

    site: str
    layer: Int[Array, ""]

    @property
    def width(self) -> int:
        """Features of the activation it reads."""
        ...

    def probability(self, activation: Float[Array, "B D"]) -> Float[Array, "B A"]:
        """Calibrated probability that each dimension drives a harmful contact, float32."""
        ...
