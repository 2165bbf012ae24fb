"""What was hit, by which part of the robot, how hard, and which dimension drove it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from mist_jax.evaluation.report.charts.chart import (
    HARM,
    Chart,
    arm_colour,
    chart_of,
    dashed_unsteered,
    rows_of,
)
from mist_jax.evaluation.report.charts.names import DIMENSION_WORDS, contact_words

MOST_ROWS = 12  # pairs of bodies that are told
_STEP = 27  # pixels of a row


def harm_charts(summary: Mapping[str, Any]) -> list[Chart]:
    """Those that there is something to draw of."""
    if not any(summary["contacts"].values()):
        return []
    return [_pairs(summary), _dimensions(summary), _forces(summary)]


def _pairs(summary: Mapping[str, Any]) -> Chart:
    counts: dict[str, Counter[str]] = {arm: Counter() for arm in summary["arms"]}
    for arm, rows in summary["contacts"].items():
        for row in rows:
            counts[arm][contact_words(row)] += row["count"]
    total = sum(counts.values(), Counter())
    pairs = sorted(total, key=lambda pair: (-total[pair], pair))
    shown = pairs[:MOST_ROWS]
    left_out = sum(total[pair] for pair in pairs[MOST_ROWS:])
    title = "What was hit" + (f" ({left_out} other contacts not shown)" if left_out else "")
    cells = [
        {"what": pair, "arm": arm, "count": count[pair], "text": str(count[pair] or "·"),
         "rate": count[pair] / _ended(summary, arm)}
        for arm, count in counts.items()
        for pair in shown
    ]  # fmt: skip
    words = "Harmful contacts of each arm by the part of the robot and what it hit."
    return _table("hit", title, words, cells, shown, list(counts))


def _dimensions(summary: Mapping[str, Any]) -> Chart:
    cells = [
        {"what": DIMENSION_WORDS[name], "arm": arm, "count": share,
         "text": f"{share:.1f}" if share >= 0.05 else "·", "rate": share / _ended(summary, arm)}
        for arm, driven in summary["driven_by"].items()
        for name, share in driven.items()
    ]  # fmt: skip
    title = "Which dimension of the action drove it (contacts, shared out)"
    words = "Harmful contacts of each arm by the dimension of the action that drove the approach."
    return _table(
        "driven_by", title, words, cells, list(DIMENSION_WORDS.values()), list(summary["arms"])
    )


def _table(
    name: str,
    title: str,
    words: str,
    cells: Sequence[Mapping[str, Any]],
    rows: Sequence[str],
    arms: Sequence[str],
) -> Chart:
    """A cell for each row and arm, the redder the more per episode, with its number."""
    most = max((cell["rate"] for cell in cells), default=0.0) or 1.0
    base = alt.Chart(rows_of(cells)).encode(
        x=alt.X(
            "arm:N",
            sort=list(arms),
            title=None,
            axis=alt.Axis(
                orient="top", domain=False, ticks=False, labelAngle=-28, labelAlign="left"
            ),
        ),
        y=alt.Y(
            "what:N",
            sort=list(rows),
            title=None,
            axis=alt.Axis(domain=False, ticks=False, labelLimit=210),
        ),
    )
    fill = base.mark_rect(color=HARM, cornerRadius=3, stroke="transparent", strokeWidth=2).encode(
        opacity=alt.Opacity(
            "rate:Q", scale=alt.Scale(domain=[0, most], range=[0.05, 0.6]), legend=None
        )
    )
    text = base.mark_text(fontSize=11.5).encode(text="text:N", color=alt.value("ink"))
    return chart_of(name, title, words, alt.layer(fill, text), _STEP * len(rows))


def _forces(summary: Mapping[str, Any]) -> Chart:
    arms = list(summary["arms"])
    rows = [
        {"arm": arm, "force": force, "share": share}
        for arm, curve in summary["forces"].items()
        for force, share in curve
    ]
    drawn = (
        alt.Chart(rows_of(rows))
        .mark_line(interpolate="step-after", strokeWidth=2.2)
        .encode(
            x=alt.X(
                "force:Q",
                scale=alt.Scale(type="log", domain=[1, 3000], nice=False),
                title="newtons",
                axis=alt.Axis(values=[1, 3, 10, 30, 100, 300, 1000, 3000], format="~s", grid=False),
            ),
            y=alt.Y(
                "share:Q",
                title=None,
                axis=alt.Axis(format="%", tickCount=4),
                scale=alt.Scale(domainMin=0),
            ),
            color=arm_colour(arms, legend=arms),
            strokeDash=dashed_unsteered(),
        )
    )
    words = "Share of episodes with a harmful contact of at least so many newtons, for each arm."
    title = "Episodes that hit something at least this hard"
    return chart_of("forces", title, words, drawn, 210)


def _ended(summary: Mapping[str, Any], arm: str) -> int:
    return max(summary["arms"][arm]["episodes"] - summary["arms"][arm]["crashed"], 1)
