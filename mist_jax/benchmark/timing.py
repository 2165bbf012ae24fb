"""Times the compiled policy: latency, throughput and memory of one query, and what limits it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from mist_jax.benchmark.device_layout import DeviceLayout
from mist_jax.benchmark.mode_names import SteeringMode
from mist_jax.benchmark.modes import intervention_of
from mist_jax.benchmark.profile import Operation, profiled
from mist_jax.benchmark.roofline import Roofline
from mist_jax.policy.forward import forward
from mist_jax.policy.model import PolicyModel

_WARM_UP = 3
_PROFILED = 5  # queries at most


@dataclass(frozen=True)
class Timing:
    """One batch size under one mode, over the devices of one layout.

    `median_ms` and `p90_ms` are from inputs on the host to actions (and activations) on the host;
    the images' preprocessing is not in them. `device_ms` is how long the busiest device computes
    for it, from XLA's profile of the same program (None where that names no operation).
    `roofline_ms` is the least that the device could take. `memory_gb` is what XLA plans for on each
    device: parameters, inputs, outputs and the largest set of intermediate arrays (None where it
    does not say).
    """

    batch: int  # examples in the query, over all devices
    layout: str
    steering: SteeringMode
    compile_s: float
    kept: bool  # the program was found in JAX's persistent cache
    median_ms: float
    p90_ms: float
    device_ms: float | None
    roofline_ms: float | None
    memory_gb: float | None
    flops: float  # of the matrix products
    operations: tuple[Operation, ...] = ()  # the largest, of the device's time

    @property
    def queries_per_s(self) -> float:
        """Action chunks a second."""
        return 1e3 * self.batch / self.median_ms

    @property
    def share(self) -> float | None:
        """Of the roofline that is reached: 1 where the device could not be faster."""
        if self.roofline_ms is None:
            return None
        return self.roofline_ms / (self.median_ms if self.device_ms is None else self.device_ms)


def measure(
    model: PolicyModel,
    parameters: dict[str, Any],
    *,
    batch: int,
    steering: SteeringMode,
    repeats: int,
    layout: DeviceLayout,
    roofline: Roofline | None = None,
    dtype: str = "",
) -> Timing | None:
    """Compiles and times one batch size; None where it needs more memory than there is.

    Args:
        model: the architecture.
        parameters: its weights, as `layout` lays them.
        batch: examples in one query, of each device where the layout is `data`.
        steering: see `intervention_of`; all but `none`, `read` and `causal` also return the
            activations of every layer.
        repeats: queries timed, after a few that are not.
        layout: the devices.
        roofline: what one of them can do; None: it is not compared.
        dtype: of the products, as the roofline knows them.
    """
    model, batch = layout.run(model), layout.examples(batch)
    inputs = model.example_inputs(batch)
    place = next(name for name, site in model.sites.items() if site.steerable)
    intervention = intervention_of(model, place, batch, steering)
    sites = (place,) if steering in ("off", "on") else ()
    try:
        began = time.perf_counter()
        with _cache_hits() as hits:
            compiled = forward.lower(
                model, parameters, layout.shaped(inputs), intervention, sites=sites
            ).compile()
        compile_s = time.perf_counter() - began

        def query() -> Any:
            return jax.device_get(compiled(parameters, inputs, intervention))

        seconds = _times(query, repeats)
        profile = profiled(query, min(repeats, _PROFILED), compiled.as_text() or "")
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None
    memory, flops, least = compiled.memory_analysis(), model.flops(batch), None
    if roofline is not None:
        moved = 0 if memory is None else memory.argument_size_in_bytes
        least = roofline.least_ms(flops, moved, dtype, len(layout.devices))
    return Timing(
        batch=batch,
        layout=layout.name,
        steering=steering,
        compile_s=compile_s,
        kept=bool(hits),
        median_ms=1e3 * float(np.median(seconds)),
        p90_ms=1e3 * float(np.quantile(seconds, 0.9)),
        device_ms=None if profile is None else profile.device_ms,
        roofline_ms=least,
        memory_gb=_planned_gb(memory),
        flops=flops,
        operations=() if profile is None else profile.operations,
    )


@contextmanager
def _cache_hits() -> Iterator[list[str]]:
    """Within it, programs that JAX finds in its persistent cache are noted in the list."""
    hits: list[str] = []

    def note(event: str, **_: Any) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            hits.append(event)

    jax.monitoring.register_event_listener(note)
    try:
        yield hits
    finally:
        jax.monitoring.unregister_event_listener(note)


def _planned_gb(memory: Any) -> float | None:
    if memory is None:
        return None
    arrays = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return (arrays + memory.temp_size_in_bytes) / 1e9


def _times(query: Callable[[], Any], repeats: int) -> list[float]:
    seconds = []
    for index in range(_WARM_UP + repeats):
        began = time.perf_counter()
        query()
        if index >= _WARM_UP:
            seconds.append(time.perf_counter() - began)
    return seconds
