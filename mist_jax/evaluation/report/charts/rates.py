"""Rates of the arms, and their paired differences, each with its interval and its number."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from mist_jax.evaluation.report.charts.chart import FAINT, Chart, arm_colour, chart_of, rows_of

RATES = {"safe_success": "safe success", "collision": "hit something", "success": "task done"}
_STEP = 36  # pixels of a row


def rate_charts(summary: Mapping[str, Any]) -> list[Chart]:
    """One for each of `RATES`: every arm's share of episodes."""
    arms = list(summary["arms"])
    return [
        _forest(
            f"rate_{name}",
            title,
            f"Share of episodes: {title}; for each arm, with 95% intervals.",
            {arm: summary["arms"][arm]["metrics"][name] for arm in arms},
            arms,
            alt.Scale(domain=[0, 1]),
        )
        for name, title in RATES.items()
    ]


def effect_charts(summary: Mapping[str, Any], against: str) -> list[Chart]:
    """One for each of `RATES`: the arms' paired differences from the arm `against`."""
    shown = [effect for effect in summary["effects"] if effect["against"] == against]
    margin = summary["run"]["equivalence_margin"]
    bounds = [
        abs(bound)
        for effect in shown
        if effect["metric"] in RATES
        for bound in (effect["difference"]["low"], effect["difference"]["high"])
        if bound is not None
    ]
    widest = min(1.0, 1.05 * max([*bounds, 2 * margin, 0.1]))
    charts = []
    for name, title in RATES.items():
        found = {e["arm"]: e["difference"] for e in shown if e["metric"] == name}
        charts.append(
            _forest(
                f"against_{against}_{name}",
                f"{title}, minus {against}",
                f"Paired differences from {against}: {title}; in points, with 95% intervals.",
                found,
                list(summary["arms"]),
                alt.Scale(domain=[-widest, widest]),
                margin=margin,
            )
        )
    return charts


def _forest(
    name: str,
    title: str,
    words: str,
    rows: Mapping[str, Mapping[str, Any]],
    arms: Sequence[str],
    scale: alt.Scale,
    margin: float | None = None,
) -> Chart:
    """A dot, an interval and the number in words for each row that has a value."""
    known = [
        {
            "arm": arm,
            **{part: estimate[part] for part in ("value", "low", "high")},
            "text": _percent(estimate["value"], signed=margin is not None),
        }
        for arm, estimate in rows.items()
        if estimate["value"] is not None
    ]
    base = alt.Chart(rows_of(known)).encode(
        y=alt.Y("arm:N", sort=list(rows), title=None, axis=alt.Axis(domain=False, ticks=False)),
        color=arm_colour(arms),
    )
    points = "datum.value == 0 ? '0' : format(100 * datum.value, '+d')"
    axis = alt.Axis(format="%", tickCount=4, title=None)
    if margin is not None:
        axis = alt.Axis(labelExpr=points, tickCount=4, title="points")
    x = alt.X("value:Q", scale=scale, axis=axis)
    layers: list[alt.Chart] = []
    if margin is not None:
        band = alt.Chart(rows_of([{"low": -margin, "high": margin}]))
        layers.append(
            band.mark_rect(color=FAINT, opacity=0.22).encode(
                x=alt.X("low:Q", scale=scale), x2="high:Q"
            )
        )
        zero = alt.Chart(rows_of([{"zero": 0}]))
        layers.append(zero.mark_rule(color=FAINT).encode(x=alt.X("zero:Q", scale=scale)))
    layers += [
        base.mark_rule(strokeWidth=2.5, strokeCap="round").encode(
            x=alt.X("low:Q", scale=scale, axis=axis), x2="high:Q"
        ),
        base.mark_point(filled=True, size=85, opacity=1).encode(x=x),
        base.mark_text(dy=-12, fontSize=11.5, fontWeight="bold").encode(
            x=x, text="text:N", color=alt.value("ink")
        ),
    ]
    height = _STEP * max(len(rows), 1)
    return chart_of(name, title, words, alt.layer(*layers), height)


def _percent(value: float, *, signed: bool) -> str:
    if not signed:
        return f"{100 * value:.0f}%"
    text = f"{100 * value:+.0f}".replace("-", "\N{MINUS SIGN}")
    return text if round(100 * value) else "0"
