"""The report's pictures, as SVG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS
from mist_jax.evaluation.arms.registry import row_of
from mist_jax.evaluation.metrics import METRICS
from mist_jax.evaluation.results import EpisodeResult
from mist_jax.figures import names_as_they_are
from mist_jax.risk.judging.evidence import CLOCK
from mist_jax.risk.judging.views import FIRST, WITHIN_TASK
from mist_jax.risk.perceptron.head import HEAD

RATES = ("success", "collision", "safe_success")
FORCE_EDGES = np.geomspace(1, 10_000, 17)  # N
MOST_ROWS = 14  # bodies per axis of the contact map
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#94a3b8",
    "axes.titleweight": "bold",
    "axes.titlesize": 9.5,
}


def as_svg(figure: Figure) -> bytes:
    """The figure as an SVG document without a date; text as paths, so that it needs no fonts."""
    stream = io.BytesIO()
    # A fixed salt: the same lines give the same report.
    with matplotlib.rc_context({"svg.hashsalt": "mist_jax"}), names_as_they_are(figure):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def rates(summary: Mapping[str, Any]) -> Figure:
    """Success, collision and safe-success rate of each arm, with intervals."""
    arms = list(summary["arms"])
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 0.9 + 0.32 * len(arms)), layout="constrained")
        for axes, name in zip(figure.subplots(1, 3, sharey=True), RATES, strict=True):
            for row, arm in enumerate(arms):
                _dot(axes, row, summary["arms"][arm]["metrics"][name], arm)
            axes.set(xlim=(-0.03, 1.03), title=METRICS[name].label)
            _rows(axes, arms)
    return figure


def effects(summary: Mapping[str, Any], against: str) -> Figure | None:
    """Paired differences of the rates, with intervals and the margin of equivalence."""
    shown = [e for e in summary["effects"] if e["against"] == against]
    arms = list(dict.fromkeys(effect["arm"] for effect in shown))
    if not arms:
        return None
    margin = summary["run"]["equivalence_margin"]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 1.0 + 0.32 * len(arms)), layout="constrained")
        for axes, name in zip(figure.subplots(1, 3, sharey=True), RATES, strict=True):
            axes.axvspan(-margin, margin, color="#e2e8f0", zorder=0)
            axes.axvline(0, color="#94a3b8", linewidth=1, zorder=1)
            for effect in shown:
                if effect["metric"] == name:
                    _dot(axes, arms.index(effect["arm"]), effect["difference"], effect["arm"])
            widest = max(abs(bound) for bound in (*axes.get_xlim(), 2 * margin))
            axes.set(xlim=(-widest, widest), title=f"{METRICS[name].label}, minus {against}")
            _rows(axes, arms)
    return figure


def contact_map(summary: Mapping[str, Any]) -> Figure | None:
    """Harmful contacts per episode: robot link or held object by obstacle, for each arm."""
    contacts = {arm: rows for arm, rows in summary["contacts"].items() if rows}
    if not contacts:
        return None
    links = _most_frequent(contacts, "link")
    obstacles = _most_frequent(contacts, "obstacle")
    tables = {arm: np.zeros((len(links), len(obstacles))) for arm in summary["arms"]}
    for arm, rows in contacts.items():
        ended = summary["arms"][arm]["episodes"] - summary["arms"][arm]["crashed"]
        for row in rows:
            if row["link"] in links and row["obstacle"] in obstacles:
                place = links.index(row["link"]), obstacles.index(row["obstacle"])
                tables[arm][place] += row["count"] / ended
    most = max(table.max() for table in tables.values())
    columns = min(len(tables), 2 if len(obstacles) > 6 else 4)
    lines = -(-len(tables) // columns)
    with matplotlib.rc_context(_STYLE):
        height = lines * (0.5 + 0.24 * len(links)) + 1.3
        figure = Figure(figsize=(9.6, height), layout="constrained")
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, (arm, table) in zip(grid, tables.items(), strict=False):
            image = axes.imshow(table, cmap="OrRd", vmin=0, vmax=most, aspect="auto")
            axes.set_title(arm, color=row_of(arm).colour)
            axes.set_xticks(range(len(obstacles)), obstacles, rotation=40, ha="right")
            axes.set_yticks(range(len(links)), links)
            axes.tick_params(length=0)
            for (row, column), value in np.ndenumerate(table):
                if value:
                    dark = "white" if value > 0.6 * most else "black"
                    axes.text(
                        column,
                        row,
                        f"{value:.2g}",
                        ha="center",
                        va="center",
                        fontsize=7.5,
                        color=dark,
                    )
        for axes in grid[len(tables) :]:
            axes.set_visible(False)
        figure.colorbar(image, ax=list(grid), label="per episode", shrink=0.7)
    return figure


def forces(results: Sequence[EpisodeResult], arms: Sequence[str]) -> Figure | None:
    """Peak normal forces of the harmful contacts, and the dimensions that drove them."""
    ended = [result for result in results if not result.crashed]
    if not any(result.contacts for result in ended):
        return None
    dims = len(ACTION_DIMENSIONS)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        width = 0.8 / len(arms)
        for index, arm in enumerate(arms):
            own = [result for result in ended if result.arm == arm]
            found = [contact for result in own for contact in result.contacts]
            count = max(len(own), 1)
            peaks = np.clip(
                [contact.peak_force for contact in found], FORCE_EDGES[0], FORCE_EDGES[-1]
            )
            height = np.histogram(peaks, FORCE_EDGES)[0] / count
            left.stairs(height, FORCE_EDGES, color=row_of(arm).colour, linewidth=1.6, label=arm)
            share = np.asarray([contact.share for contact in found]).reshape(-1, dims).sum(axis=0)
            at = np.arange(dims) + (index - (len(arms) - 1) / 2) * width
            right.bar(at, share / count, width, color=row_of(arm).colour)
        left.set(
            xscale="log",
            xlabel="peak normal force of a contact (N)",
            ylabel="contacts per episode",
            title="How hard",
        )
        left.legend(frameon=False, fontsize=8)
        right.set_xticks(range(dims), ACTION_DIMENSIONS)
        right.set(ylabel="contacts per episode", title="Which dimension drove them (shares)")
    return figure


def detector(summary: Mapping[str, Any]) -> Figure | None:
    """AUROC within tasks of the risk head beside the clock's, for the motions that are scored."""
    card = summary["detector"]
    if card is None:
        return None
    motions = {which: card["detectors"][which][FIRST]["motions"] for which in (HEAD, CLOCK)}
    scored = [
        name for name in SIGNED_MOTIONS if motions[HEAD][name][WITHIN_TASK]["value"] is not None
    ]
    if not scored:
        return None
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.8, 3.4), layout="constrained")
        axes = figure.subplots()
        looks = ((HEAD, "#0f766e", -0.12, "o"), (CLOCK, "#b45309", 0.12, "s"))
        for which, colour, shift, marker in looks:
            for column, name in enumerate(scored):
                found = motions[which][name][WITHIN_TASK]
                low, high = found["interval"] or (found["value"],) * 2
                axes.plot([column + shift] * 2, [low, high], color=colour, linewidth=1.4)
                axes.plot(
                    column + shift,
                    found["value"],
                    marker,
                    color=colour,
                    markersize=5,
                    label=which if column == 0 else None,
                )
        axes.axhline(0.5, color="#94a3b8", linewidth=1)
        axes.set_xticks(range(len(scored)), scored)
        axes.set(
            xlim=(-0.5, len(scored) - 0.5),
            ylim=(0, 1.02),
            title="AUROC of first events within tasks",
        )
        axes.legend(frameon=False, ncols=2, loc="lower right")
    return figure


def _dot(axes: Axes, row: int, estimate: Mapping[str, Any], arm: str) -> None:
    if estimate["value"] is None:
        return
    colour = row_of(arm).colour
    if estimate["low"] is not None:
        axes.plot([estimate["low"], estimate["high"]], [row, row], color=colour, linewidth=2)
    axes.plot(estimate["value"], row, "o", color=colour, markersize=6)


def _rows(axes: Axes, arms: Sequence[str]) -> None:
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_yticks(range(len(arms)), arms)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _most_frequent(contacts: Mapping[str, Sequence[Mapping[str, Any]]], what: str) -> list[str]:
    count: dict[str, int] = {}
    for rows in contacts.values():
        for row in rows:
            count[row[what]] = count.get(row[what], 0) + row["count"]
    return sorted(count, key=lambda name: (-count[name], name))[:MOST_ROWS]
