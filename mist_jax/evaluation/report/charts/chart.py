"""One chart: a Vega-Lite specification with the words of it, and the program that draws it."""

import functools
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from mist_jax.record.episode import UNSTEERED

HARM, SAFE, STEERED = "#dc2626", "#059669", "#0d9488"  # legible on white and on black
SUBJECT, OTHER = "#0d9488", "#d97706"
FAINT = "#8b98a9"
_VERSION = alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
Drawn = alt.Chart | alt.LayerChart | alt.FacetChart
_EMBED = "window.vegaEmbed = vegaEmbed;"
_BUNDLE = """
import json, sys
import vl_convert
sys.stdout.reconfigure(encoding="utf-8")
sys.stdout.write(vl_convert.javascript_bundle(**json.load(sys.stdin)))
"""


@dataclass(frozen=True)
class Chart:
    """A picture of the report, as wide as its place.

    Attributes:
        name: names it within the page.
        title: what a reader sees above it.
        words: what it shows, for those who do not see it.
        spec: Vega-Lite, without colours of text, lines and arms: the page sets those of light or
            dark.
    """

    name: str
    title: str
    words: str
    spec: Mapping[str, Any]


def chart_of(name: str, title: str, words: str, drawn: Drawn, height: int) -> Chart:
    """A chart as wide as its place in the page, and so many pixels high."""
    spec = drawn.to_dict()
    spec.pop("config", None)
    fitted = {"type": "fit-x", "contains": "padding"}
    sizes = {"width": "container", "height": height, "autosize": fitted}
    return Chart(name, title, words, {**spec, **sizes})


def rows_of(values: Sequence[Mapping[str, Any]]) -> alt.Data:
    """Data of a chart, inside its specification."""
    return alt.Data(values=[dict(row) for row in values])  # pyright: ignore[reportCallIssue]


def arm_colour(arms: Sequence[str], *, legend: Sequence[str] = ()) -> alt.Color:
    """The colour of the field `arm`; the page knows those of the arms in this order.

    `legend` are the arms that are told above the chart.
    """
    shown = alt.Legend(orient="top", title=None, values=list(legend)) if legend else None
    return alt.Color("arm:N", scale=alt.Scale(domain=list(arms)), legend=shown)


def dashed_unsteered() -> Any:
    """Dashes for the policy alone, so that it is told apart without colour."""
    alone = alt.datum.arm == UNSTEERED
    return alt.condition(alone, alt.value([5, 3]), alt.value([1, 0]))


@functools.cache
def drawing_program() -> str:
    """JavaScript that draws specifications in a page, Vega and all, and loads nothing.

    Made in a process of its own: the engine that makes it keeps 32 GiB of addresses, and a process
    that large may no longer fork.
    """
    told = json.dumps({"snippet": _EMBED, "vl_version": _VERSION})
    made = subprocess.run(
        [sys.executable, "-c", _BUNDLE], input=told.encode(), capture_output=True, check=True
    )
    return made.stdout.decode()
