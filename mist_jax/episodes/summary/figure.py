"""A dataset's summary to look at: one picture, one table."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.table import Table

from mist_jax.disk import whole_file
from mist_jax.episodes.summary.counts import FORCE_EDGES, DatasetSummary
from mist_jax.figures import names_as_they_are
from mist_jax.record.episode import OUTCOMES

_COLORS = {"success": "#2a9d8f", "failure": "#e76f51", "crashed": "#8d99ae"}
_CONTACT = "#264653"
_MOST_BARS = 12


def save_summary_figure(summary: DatasetSummary, path: Path) -> None:
    """Draws outcomes and contacts per task, contacts per link and dimension, and the forces."""
    with matplotlib.rc_context({"font.size": 8}):
        height = 5.5 + 0.16 * len(summary.tasks)
        figure = Figure(figsize=(11, height), layout="constrained")
        axes = figure.subplots(2, 3)
        _outcomes(axes[0, 0], summary)
        per_task = {name: task.onsets for name, task in summary.tasks.items()}
        _bars(axes[0, 1], "Harmful contacts per task", per_task)
        _forces(axes[0, 2], summary)
        _bars(axes[1, 0], "Harmful contacts per robot link or held object", summary.links)
        _bars(axes[1, 1], "Harmful contacts per obstacle", summary.obstacles)
        _bars(axes[1, 2], "Harmful contacts per dimension", summary.dimensions)
        figure.suptitle(
            f"{summary.episodes} episodes, {summary.steps} steps, {summary.queries} queries"
        )
        with whole_file(path) as beside, names_as_they_are(figure):
            figure.savefig(beside, format="png", dpi=110)


def summary_table(summary: DatasetSummary) -> Table:
    """Outcomes and harmful contacts per task, and their totals, as a table for the terminal."""
    # Fits a terminal of 80 columns.
    table = Table(
        box=None,
        show_footer=True,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption=(
            "harmful: episodes with a harmful contact; safe: successes without one; "
            "contacts: harmful contacts that began; events: those with their bounces; first: the "
            "earliest of an episode; pushed: first ones that a perturbation had a hand in"
        ),
    )
    tasks = summary.tasks.values()
    columns = {
        "all": [task.episodes for task in tasks],
        **{outcome: [task.outcomes[outcome] for task in tasks] for outcome in OUTCOMES},
        "surplus": [task.surplus for task in tasks],
        "harmful": [task.harmful for task in tasks],
        "safe": [task.safe_successes for task in tasks],
        "contacts": [task.onsets for task in tasks],
        "events": [task.events for task in tasks],
        "first": [task.first_events for task in tasks],
        "pushed": [task.exogenous_first_events for task in tasks],
    }
    table.add_column("task", footer="total", no_wrap=True)
    for name, values in columns.items():
        table.add_column(name, justify="right", footer=str(sum(values)))
    for row, name in enumerate(summary.tasks):
        table.add_row(name, *(str(values[row]) for values in columns.values()))
    return table


def _outcomes(axes: Axes, summary: DatasetSummary) -> None:
    names = list(summary.tasks)
    left = [0] * len(names)
    for outcome in OUTCOMES:
        counts = [task.outcomes[outcome] for task in summary.tasks.values()]
        axes.barh(names, counts, left=left, color=_COLORS[outcome], label=outcome)
        left = [a + b for a, b in zip(left, counts, strict=True)]
    axes.invert_yaxis()
    axes.set_title("Episodes per task")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(ncols=len(OUTCOMES), loc="upper center", bbox_to_anchor=(0.5, -0.1), frameon=False)


def _bars(axes: Axes, title: str, counts: Mapping[str, int]) -> None:
    shown = dict(list(counts.items())[:_MOST_BARS])
    axes.barh(list(shown), list(shown.values()), color=_CONTACT)
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    left_out = len(counts) - len(shown)
    axes.set_title(f"{title} (first {_MOST_BARS})" if left_out else title)


def _forces(axes: Axes, summary: DatasetSummary) -> None:
    labels = [f"{low:g}-{high:g}" for low, high in itertools.pairwise(FORCE_EDGES)]
    labels.append(f">{FORCE_EDGES[-1]:g}")
    axes.bar(labels, summary.forces, color=_CONTACT)
    axes.tick_params(axis="x", rotation=60)
    axes.set_xlabel("peak normal force (N)")
    axes.set_ylabel("records, one per pair and step")
    axes.set_title("Forces of harmful contacts")
