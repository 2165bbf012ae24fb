"""What may forecast inside the compiled forward, and so open gates: a gating detector's seam."""

from typing import Any, Protocol

from mist_jax.axes import Array, Bool, Float, Int


class RiskReader(Protocol):
    """A pytree of arrays that reads some sites, layer by layer, up to one layer; `RiskHead` is one.

    `sites` is static: names of the model's sites, each read pooled by the mean. `layer` is data:
    the layer of the language model (0-based) after which the forecast is made; -1 makes none, and
    the risk is zero. Sites that are known before the language model's layers are read when these
    begin: a reader of such sites alone forecasts then. One that reads a site after them forecasts
    at the end, too late for any gate.

    A reader may have a static field `pinned`: the only layers at which it ever reads or forecasts.
    A forward that is compiled layer by layer then asks nothing at run time, and is traced anew for
    a reader of other layers.

    A *reading* is what was gathered so far in this forward, a *memory* what is kept for the same
    episode's next query; both are pytrees of float32 arrays with the batch first, whose row b
    depends on example b alone.
    """

    sites: tuple[str, ...]
    layer: Int[Array, ""]

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each site's activation."""
        ...

    def start(self, batch: int) -> Any:
        """The reading before anything was read."""
        ...

    def reads(self, site: str, layer: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether this layer of the site is needed: elsewhere it is not even pooled.

        Layers are the site's own. What a reader wants after its forecast comes too late.
        """
        ...

    def absorb(
        self, reading: Any, site: str, layer: Int[Array, ""], activation: Float[Array, "B D"]
    ) -> Any:
        """The reading after one layer of one site, called where `reads` says so."""
        ...

    def forecast(
        self, reading: Any, proprio: Float[Array, "B proprio"], memory: Any
    ) -> tuple[Float[Array, "B M"], Any]:
        """Calibrated probability that each signed motion drives a harmful event within the horizon.

        `proprio` is as the policy gets it, normalised. Also gives the memory for the next query.
        """
        ...

    def no_memory(self, batch: int) -> Any:
        """The memory at an episode's first query."""
        ...
