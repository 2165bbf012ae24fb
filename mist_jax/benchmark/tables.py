"""Timings for the terminal: each beside what the device could do, and beside the plain query."""

from collections.abc import Sequence

from rich.table import Table

from mist_jax.benchmark.roofline import Roofline
from mist_jax.benchmark.timing import Timing

_LONGEST_NAME = 60


def timing_table(title: str, timings: Sequence[Timing]) -> Table:
    """One row each. `least` is the roofline's time, `share` how much of it is reached; `kept`
    programs were not compiled but found in JAX's cache.
    """
    table = Table(box=None, title=title, padding=(0, 1, 0, 0), pad_edge=False)
    words = ("devices", "steering")
    headings = ("batch", *words, "ms", "device ms", "ms each", "over none", "least ms", "share")
    for heading in (*headings, "queries/s", "speedup", "GB", "compile s"):
        table.add_column(heading, justify="left" if heading in words else "right")
    for each in timings:
        table.add_row(
            str(each.batch),
            each.layout,
            each.steering,
            f"{each.median_ms:.1f}",
            _number(each.device_ms, "{:.1f}"),
            f"{each.median_ms / each.batch:.2f}",
            _number(over_none(each, timings), "{:.3f}"),
            _number(each.roofline_ms, "{:.1f}"),
            _number(each.share, "{:.0%}"),
            f"{each.queries_per_s:.1f}",
            _number(speedup(each, timings), "{:.2f}"),
            _number(each.memory_gb, "{:.3g}"),
            f"{each.compile_s:.1f}{' (kept)' * each.kept}",
        )
    return table


def operations_table(timing: Timing) -> Table:
    """The largest operations of one row."""
    what = f"batch {timing.batch}, devices {timing.layout}, steering {timing.steering}"
    title = f"largest operations: {what}"
    table = Table(box=None, title=title, padding=(0, 1, 0, 0), min_width=len(title) + 1)
    table.add_column("ms", justify="right")
    table.add_column("share", justify="right")
    table.add_column("calls", justify="right")
    table.add_column("operation")
    for one in timing.operations:
        calls = f"{one.calls:.0f}"
        table.add_row(f"{one.ms:.3f}", f"{one.share:.1%}", calls, one.name[:_LONGEST_NAME])
    return table


def roofline_line(roofline: Roofline) -> str:
    """What one device reached in this run."""
    products = ", ".join(
        f"{name} {tflops:.3g} TFLOP/s" for name, tflops in sorted(roofline.product_tflops.items())
    )
    copied = f"a copy {roofline.copy_gb:.3g} GB/s"
    return f"roofline: a product of {roofline.side}^3 in {products}; {copied}"


def row_line(timing: Timing) -> str:
    """One row in words, as soon as it is measured."""
    device = "" if timing.device_ms is None else f", {timing.device_ms:.4g} ms on the device"
    return (
        f"batch {timing.batch}, devices {timing.layout}, steering {timing.steering}: "
        f"{timing.median_ms:.4g} ms from host to host{device}, compiled in {timing.compile_s:.3g} s"
    )


def over_none(timing: Timing, timings: Sequence[Timing]) -> float | None:
    """Its milliseconds over those of the same query without steering; None where none was timed.

    On the device where both were profiled, else from host to host.
    """
    plain = _like(timing, timings, steering="none")
    if plain is None or timing.steering == "none":
        return None
    if timing.device_ms is None or plain.device_ms is None:
        return timing.median_ms / plain.median_ms
    return timing.device_ms / plain.device_ms


def speedup(timing: Timing, timings: Sequence[Timing]) -> float | None:
    """Its queries a second over those of one device that is asked the same batch; None where that
    was not timed. With examples on each device, the batch is that of each.
    """
    if timing.layout == "1":
        return None
    count, _, parallel = timing.layout.partition(" ")
    batch = timing.batch // int(count) if parallel == "data" else timing.batch
    alone = _like(timing, timings, layout="1", batch=batch)
    return None if alone is None else timing.queries_per_s / alone.queries_per_s


def _like(timing: Timing, timings: Sequence[Timing], **changed: object) -> Timing | None:
    wanted = {name: getattr(timing, name) for name in ("batch", "layout", "steering")} | changed
    return next(
        (
            each
            for each in timings
            if all(getattr(each, name) == value for name, value in wanted.items())
        ),
        None,
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
