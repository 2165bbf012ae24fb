"""How far the risk head's word can be trusted: reliability with counts, and beside the clock."""

from collections.abc import Mapping
from typing import Any

import altair as alt

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.evaluation.report.charts.chart import FAINT, OTHER, SUBJECT, Chart, chart_of, rows_of
from mist_jax.risk.judging.evidence import CLOCK
from mist_jax.risk.judging.views import FIRST, WITHIN_TASK
from mist_jax.risk.perceptron.head import HEAD


def forecast_charts(summary: Mapping[str, Any]) -> list[Chart]:
    """Those that there is something to draw of."""
    return [chart for chart in (_reliability(summary), _detector(summary)) if chart is not None]


def _reliability(summary: Mapping[str, Any]) -> Chart | None:
    """A row per bin of risk: what was predicted on average, and what came true."""
    bins = summary["reliability"]
    if not bins:
        return None
    rows = [
        {"bin": _bin(row),
         "predicted": row["predicted"], "observed": row["observed"],
         "low": row["low"], "high": row["high"], "by": "predicted", "came": "came true"}
        for row in bins
    ]  # fmt: skip
    most = min(1.0, 1.05 * max(max(row["high"], row["predicted"]) for row in bins))
    scale = alt.Scale(domain=[0, most], nice=False)
    axis = alt.Axis(format="%", tickCount=5)
    names = alt.Axis(ticks=False, labelPadding=8)
    colours = alt.Scale(domain=["came true", "predicted"], range=[SUBJECT, OTHER])
    legend = alt.Legend(orient="top", title=None)
    base = alt.Chart(rows_of(rows)).encode(
        y=alt.Y("bin:N", sort=[row["bin"] for row in rows], title=None, axis=names)
    )
    came = alt.Color("came:N", scale=colours, legend=legend)
    x = alt.X("observed:Q", scale=scale, title="share of forecasts", axis=axis)
    layers = [
        base.mark_rule(strokeWidth=2.5).encode(
            x=alt.X("low:Q", scale=scale), x2="high:Q", color=came
        ),
        base.mark_point(filled=True, size=80, opacity=1).encode(x=x, color=came),
        base.mark_point(shape="diamond", size=70, opacity=1, strokeWidth=2).encode(
            x=alt.X("predicted:Q", scale=scale), color=alt.Color("by:N", scale=colours)
        ),
    ]
    words = "Share of forecasts that came true beside the mean prediction, by risk, with counts."
    title = "Does a risk of 20% come true in 20%?"
    return chart_of("reliability", title, words, alt.layer(*layers), 30 * len(rows))


def _bin(row: Mapping[str, Any]) -> str:
    """Such as "20 to 35%: 7 of 1,019"."""
    return f"{100 * row['from']:.0f} to {100 * row['to']:.0f}%: {row['events']} of {row['n']:,}"


def _detector(summary: Mapping[str, Any]) -> Chart | None:
    card = summary["detector"]
    if card is None:
        return None
    rows = []
    for which in (HEAD, CLOCK):
        motions = card["detectors"][which][FIRST]["motions"]
        for name in SIGNED_MOTIONS:
            found = motions[name][WITHIN_TASK]
            if found["value"] is not None:
                low, high = found["interval"] or (found["value"],) * 2
                rows.append({"motion": name, "by": which, "value": found["value"],
                             "low": low, "high": high})  # fmt: skip
    if not rows:
        return None
    scale = alt.Scale(domain=[0, 1])
    base = alt.Chart(rows_of(rows)).encode(
        y=alt.Y("motion:N", sort=list(SIGNED_MOTIONS), title=None, axis=alt.Axis(ticks=False)),
        yOffset=alt.YOffset("by:N", sort=[HEAD, CLOCK]),
        color=alt.Color(
            "by:N",
            scale=alt.Scale(domain=[HEAD, CLOCK], range=[SUBJECT, OTHER]),
            legend=alt.Legend(orient="top", title=None),
        ),
    )
    x = alt.X("value:Q", scale=scale, title="AUROC within tasks, first events")
    chance = alt.Chart(rows_of([{"chance": 0.5}])).mark_rule(color=FAINT, strokeDash=[4, 3])
    layers = [
        chance.encode(x=alt.X("chance:Q", scale=scale)),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale), x2="high:Q"),
        base.mark_point(filled=True, size=55, opacity=1).encode(x=x),
    ]
    words = "AUROC within tasks of the risk head and of the clock, for each motion, with intervals."
    title, motions = "Risk head beside the clock (step index)", {row["motion"] for row in rows}
    return chart_of("detector", title, words, alt.layer(*layers), 34 * len(motions))
