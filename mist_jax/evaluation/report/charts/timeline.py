"""One episode, query by query: risk, alarms, when the arm acted, and what it hit."""

from collections.abc import Sequence

import altair as alt
import numpy as np

from mist_jax.evaluation.around_contacts import common_threshold, largest_risk
from mist_jax.evaluation.report.charts.chart import (
    FAINT,
    HARM,
    STEERED,
    Chart,
    arm_colour,
    chart_of,
    rows_of,
)
from mist_jax.evaluation.results import EpisodeResult

_HEIGHT = 120


def timeline(name: str, result: EpisodeResult, arms: Sequence[str], until: int) -> Chart:
    """A line of risk; bands where the arm acted, red dots for alarms, red lines for contacts.

    `until` (control steps) is where the axis ends, so that episodes can be compared.
    """
    queries, level = result.queries, common_threshold(result.setup)
    ends = [*queries.step[1:], result.steps]
    bands = [{"from": queries.step[i], "to": ends[i]} for i in queries.acted]
    points = [
        {"arm": result.arm, "step": step, "risk": float(risk)}
        for step, risk in zip(queries.step, largest_risk(result), strict=True)
        if np.isfinite(risk)
    ]
    alarmed = [point for point, count in zip(points, queries.alarms, strict=False) if count]
    hits = [{"step": event.first} for event in result.events]
    scale = alt.Scale(domain=[0, max(until, 1)], nice=False)
    axis = alt.Axis(tickCount=6, grid=False)
    x = alt.X("step:Q", title="control step", scale=scale, axis=axis)
    y = alt.Y(
        "risk:Q",
        title="risk",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format="%", tickCount=3),
    )
    line = alt.Chart(rows_of(points)).encode(x=x, y=y, color=arm_colour(arms))
    layers = [
        alt.Chart(rows_of(bands))
        .mark_rect(color=STEERED, opacity=0.25)
        .encode(x=alt.X("from:Q", scale=scale, title="control step"), x2="to:Q"),
        line.mark_line(strokeWidth=1.8),
        alt.Chart(rows_of(alarmed))
        .mark_point(color=HARM, filled=True, size=38, opacity=1)
        .encode(x=x, y=y),
        alt.Chart(rows_of(hits)).mark_rule(color=HARM, strokeWidth=2).encode(x=x),
    ]
    if level is not None:
        rule = alt.Chart(rows_of([{"risk": level}]))
        layers.append(rule.mark_rule(color=FAINT, strokeDash=[3, 3]).encode(y=y))
    words = (
        f"Risk over time of the episode of {result.arm}: {len(alarmed)} queries with an alarm, "
        f"{len(bands)} at which it acted, {len(hits)} harmful events."
    )
    return chart_of(name, "", words, alt.layer(*layers), _HEIGHT)
