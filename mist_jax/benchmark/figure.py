"""Timings as a picture."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from mist_jax.benchmark.timing import Timing

_LONGEST_NAME = 34


def timing_figure(title: str, timings: Sequence[Timing]) -> Figure:
    """Milliseconds per example of every row, split into what the roofline allows at best, what
    the device takes beyond, and the host; beside them the largest operations of the first row.
    """
    figure = Figure(figsize=(12, 1.5 + 0.32 * max(len(timings), 10)), layout="constrained")
    rows, shares = figure.subplots(1, 2, width_ratios=(3, 2))
    names = [f"devices {each.layout}, batch {each.batch}, {each.steering}" for each in timings]
    for place, each in enumerate(timings):
        device = each.median_ms if each.device_ms is None else min(each.device_ms, each.median_ms)
        least = min(each.roofline_ms or 0.0, device)
        left = 0.0
        for until, colour in ((least, "tab:green"), (device, "tab:blue"), (each.median_ms, "0.75")):
            rows.barh(place, (until - left) / each.batch, left=left / each.batch, color=colour)
            left = until
    rows.set_yticks(range(len(names)), names)
    rows.invert_yaxis()
    rows.set_xlabel("ms per example: at least (green), on the device (blue), host (grey)")
    rows.set_title(title)
    first = next((each for each in timings if each.operations), None)
    if first is None:
        shares.set_axis_off()
        return figure
    places = range(len(first.operations))
    shares.barh(places, [one.ms for one in first.operations])
    shares.set_yticks(places, [_shortened(one.name) for one in first.operations])
    shares.invert_yaxis()
    shares.set_xlabel("ms of a query")
    shares.set_title(f"largest operations, batch {first.batch}, {first.steering}")
    return figure


def _shortened(name: str) -> str:
    """Without its middle where it is long: names of kernels differ at the end."""
    if len(name) <= _LONGEST_NAME:
        return name
    half = _LONGEST_NAME // 2
    return f"{name[:half]}…{name[-half:]}"
