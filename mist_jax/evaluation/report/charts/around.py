"""Risk, and when arms acted, in the queries around a harmful contact."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from mist_jax.evaluation.report.charts.chart import (
    FAINT,
    HARM,
    Chart,
    arm_colour,
    chart_of,
    dashed_unsteered,
    rows_of,
)

_HEIGHT = 210


def around_charts(summary: Mapping[str, Any]) -> list[Chart]:
    """Those that there is something to draw of."""
    around, arms = summary["around_contacts"], list(summary["arms"])
    own, paired = around["own"], around["unsteered"]
    steered = [row for row in own if row["acted"] is not None and not row["unsteered"]]
    drawn = []
    if any(row["risk"] is not None for row in own):
        drawn.append(
            _lines(
                "risk_before",
                "Risk before an arm's own first harmful contact",
                "Mean of the largest risk of a query, for each arm, by the number of queries "
                "before its first harmful contact.",
                own,
                arms,
                "risk",
                level=around["threshold"],
            )
        )
    if steered:
        drawn.append(
            _lines(
                "acted_before",
                "Share of these episodes in which the arm acted",
                "Share of episodes in which each arm acted, by the number of queries before its "
                "first harmful contact.",
                steered,
                arms,
                "acted",
            )
        )
    others = [row for row in paired if not row["unsteered"]]
    if others:
        drawn += [
            _lines(
                "hit_by_then",
                "Same scenes: has hit something by then",
                "Of the scenes in which the unsteered policy hits something: the share in which "
                "each arm has hit something, by the number of queries from the unsteered contact.",
                paired,
                arms,
                "hit",
            ),
            _lines(
                "acted_by_then",
                "Same scenes: share in which the arm acted",
                "Of the scenes in which the unsteered policy hits something: the share in which "
                "each arm acted, by the number of queries from the unsteered contact.",
                others,
                arms,
                "acted",
            ),
        ]
    return drawn


def _lines(
    name: str,
    title: str,
    words: str,
    rows: Sequence[Mapping[str, Any]],
    arms: Sequence[str],
    what: str,
    level: float | None = None,
) -> Chart:
    known = [{k: row[k] for k in ("arm", "query", what)} for row in rows if row[what] is not None]
    there = [arm for arm in arms if arm in {row["arm"] for row in known}]
    highest = 1.12 * max([level or 0.0, *(row[what] for row in known)], default=1.0)
    domain = [0, min(highest, 1)] if what == "risk" else [0, 1]
    contact = alt.Chart(rows_of([{"query": 0}])).mark_rule(color=HARM, strokeDash=[4, 3])
    lines = alt.Chart(rows_of(known)).encode(
        x=alt.X(
            "query:Q",
            title="queries from the contact (0: it happens now)",
            axis=alt.Axis(tickMinStep=1, format="d", grid=False),
        ),
        y=alt.Y(
            f"{what}:Q",
            title=None,
            scale=alt.Scale(domain=domain, nice=False),
            axis=alt.Axis(format="%", tickCount=4),
        ),
        color=arm_colour(arms, legend=there),
    )
    layers = [
        contact.encode(x="query:Q"),
        lines.mark_line(strokeWidth=2.2).encode(strokeDash=dashed_unsteered()),
    ]
    layers.append(lines.mark_point(filled=True, size=42, opacity=1))
    if level is not None:
        rule = alt.Chart(rows_of([{"level": level, "text": "alarm"}]))
        layers.append(rule.mark_rule(color=FAINT, strokeDash=[2, 2]).encode(y="level:Q"))
        layers.append(
            rule.mark_text(align="left", dy=-6, dx=3, fontSize=11).encode(
                y="level:Q", text="text:N", x=alt.value(0), color=alt.value("ink")
            )
        )
    words = f"{words} Arms: {', '.join(there)}."
    return chart_of(name, title, words, alt.layer(*layers), _HEIGHT)
