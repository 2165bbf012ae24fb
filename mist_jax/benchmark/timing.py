"""Times the compiled policy at random weights: latency, throughput and memory per batch size."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.sharding import Mesh
from rich.table import Table

from mist_jax.errors import UserError
from mist_jax.intervention.action_map.table import TableMap
from mist_jax.intervention.gate import ThresholdGate
from mist_jax.intervention.intent.against_motion import AgainstMotion
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.operators.causal_push import CausalPush
from mist_jax.intervention.risk_head import RiskHead
from mist_jax.intervention.steering import Steering
from mist_jax.policy.checkpoint import FLOAT8, stored_arrays
from mist_jax.policy.forward import forward
from mist_jax.policy.model import PolicyModel
from mist_jax.policy.run_form import run_form
from mist_jax.signed import MOTIONS

SteeringMode = Literal["none", "read", "off", "on", "causal"]
READ = ("llm.resid", "llm.resid:image", "llm.resid:steps", "llm.lens")
_MEMBERS = 5  # of the heads that are timed: an ensemble over five folds
_WARM_UP = 3
_JACOBIANS = 40  # ten tasks, four phases


@dataclass(frozen=True)
class Timing:
    """One batch size under one mode.

    Milliseconds are from inputs on the host to actions (and activations) on the host; the images'
    preprocessing is not in them. `memory_gb` is what XLA plans for on each device: parameters,
    inputs, outputs and the largest set of intermediate arrays (None where it does not say).
    """

    batch: int
    steering: SteeringMode
    compile_s: float
    median_ms: float
    p90_ms: float
    memory_gb: float | None
    flops: float  # of the matrix products

    @property
    def queries_per_s(self) -> float:
        """Action chunks a second."""
        return 1e3 * self.batch / self.median_ms

    @property
    def tflops_per_s(self) -> float:
        """Arithmetic achieved, over all devices."""
        return self.flops / self.median_ms / 1e9


def random_parameters(model: PolicyModel, dtype: Any, mesh: Mesh) -> dict[str, Any]:
    """Random weights of a sane scale, made on the devices one array at a time.

    Raises:
        UserError: they do not fit.
    """
    drawn_in = "bfloat16" if dtype == FLOAT8 else dtype
    arrays = stored_arrays(model, drawn_in)
    shapes = {path: leaf.shape for path, leaf in arrays.items()}
    shardings = {path: model.parameter_sharding(mesh, path, s) for path, s in shapes.items()}
    size = sum(
        int(np.prod(shardings[path].shard_shape(shape))) * jnp.dtype(drawn_in).itemsize
        for path, shape in shapes.items()
    )
    if size > (limit := _memory_of(mesh.devices.flat[0])):
        raise UserError(
            f"the parameters take {size / 1e9:.1f} GB in {jnp.dtype(drawn_in).name}, a device has "
            f"{limit / 1e9:.1f} GB: choose --dtype=bfloat16, more --devices or a smaller --preset"
        )
    made = {}
    for index, (path, shape) in enumerate(sorted(shapes.items())):
        fan_in = shape[-2] if path.endswith("/kernel") else shape[-1]
        drawn = jax.random.normal(jax.random.key(index), shape, drawn_in)
        scale = jnp.asarray(fan_in**-0.5, drawn_in)
        made[path] = jax.device_put(drawn * scale, shardings[path])
    parameters = traverse_util.unflatten_dict(made, sep="/")
    if dtype == FLOAT8:
        parameters = model.quantise(parameters, donate=True)
    return run_form(model, parameters)


def measure(
    model: PolicyModel,
    parameters: dict[str, Any],
    *,
    batch: int,
    steering: SteeringMode,
    repeats: int,
) -> Timing | None:
    """Compiles and times one batch size; None where it needs more memory than there is.

    Args:
        model: the architecture.
        parameters: its weights, wherever they lie.
        batch: examples in one query.
        steering: `none` is the model alone; `read` also has a risk head forecast from all of
            `READ` that the model has; `off` returns the activations of every layer and takes
            steering that is zero; `on` also reads the risk and steers every example at every layer;
            `causal` reads the risk at one site and pushes every example at one layer, each token
            its own way, by Jacobians of ten tasks in four phases.
        repeats: queries timed, after a few that are not.
    """
    inputs = model.example_inputs(batch)
    place = next(name for name, site in model.sites.items() if site.steerable)
    intervention = _intervention(model, place, batch, steering)
    sites = (place,) if steering in ("off", "on") else ()
    try:
        began = time.perf_counter()
        compiled = forward.lower(model, parameters, inputs, intervention, sites=sites).compile()
        compile_s = time.perf_counter() - began
        seconds = _times(
            lambda: jax.device_get(compiled(parameters, inputs, intervention)), repeats
        )
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None
    return Timing(
        batch=batch,
        steering=steering,
        compile_s=compile_s,
        median_ms=1e3 * float(np.median(seconds)),
        p90_ms=1e3 * float(np.quantile(seconds, 0.9)),
        memory_gb=_planned_gb(compiled),
        flops=model.flops(batch),
    )


def timing_table(title: str, timings: Sequence[Timing]) -> Table:
    """The timings as a table for the terminal."""
    table = Table(box=None, title=title, padding=(0, 1, 0, 0), pad_edge=False)
    headings = ("batch", "steering", "ms", "90% ms", "queries/s", "TFLOP/s", "GB", "compile s")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "steering" else "right")
    for each in timings:
        table.add_row(
            str(each.batch),
            each.steering,
            f"{each.median_ms:.1f}",
            f"{each.p90_ms:.1f}",
            f"{each.queries_per_s:.1f}",
            f"{each.tflops_per_s:.3g}",
            "-" if each.memory_gb is None else f"{each.memory_gb:.3g}",
            f"{each.compile_s:.1f}",
        )
    return table


def _planned_gb(compiled: Any) -> float | None:
    memory = compiled.memory_analysis()
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


def _intervention(
    model: PolicyModel, place: str, batch: int, steering: SteeringMode
) -> Intervention | None:
    layers, width = model.sites[place].layers, model.sites[place].width
    if steering == "none":
        return None
    names = [name for name in READ if name in model.sites] if steering == "read" else []
    read = {name: model.sites[name].width for name in names or (place,)}
    head = RiskHead.initial(
        jax.random.key(0), sites=read, layer=layers // 3, layers=layers // 3 + 1, members=_MEMBERS
    )
    if steering == "read":
        return Intervention.of(head, memory=head.no_memory(batch))
    if steering == "off":
        zero = Steering.of(np.zeros((1, layers, width)), np.zeros((batch, 1)), site=place)
        return Intervention.of(head.switched_off(), zero, memory=head.no_memory(batch))
    if steering == "causal":
        return Intervention.of(
            head, _causal_push(model, place, batch), memory=head.no_memory(batch)
        )
    vectors = np.random.default_rng(1).standard_normal((1, layers, width)) * width**-0.5
    push = Steering.of(vectors, np.ones((batch, 1)), site=place)
    return Intervention.of(head, push, memory=head.no_memory(batch))


def _causal_push(model: PolicyModel, place: str, batch: int) -> CausalPush:
    """Against every second motion, at the layer after the one at which the risk is known."""
    layers, width, dims = model.sites[place].layers, model.sites[place].width, model.action_dim
    shape = (_JACOBIANS, dims, model.chunk * dims, width)
    table = np.random.default_rng(1).standard_normal(shape, np.float32)
    return CausalPush.of(
        TableMap.of(table, np.arange(batch) % _JACOBIANS),
        AgainstMotion.of(np.full(dims, 0.1)),
        np.broadcast_to(np.eye(dims), (batch, dims, dims)),
        np.eye(layers)[min(layers // 3 + 1, layers - 1)],
        gate=ThresholdGate.of(np.where(np.arange(MOTIONS) % 2, 2.0, -1.0), np.eye(MOTIONS), batch),
        site=place,
    )


def _memory_of(device: Any) -> int:
    """Bytes that `device` may hold."""
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
