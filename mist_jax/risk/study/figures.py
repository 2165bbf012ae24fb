"""The pictures of a risk head, drawn from its evidence and its scorecard."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.figures import save_figures
from mist_jax.risk.calibration.any_event import any_event
from mist_jax.risk.judging.announcing import first_event_step, trade_off
from mist_jax.risk.judging.evidence import ANY, CLOCK, Evidence
from mist_jax.risk.judging.groups import OTHERS, grouped, groups_of
from mist_jax.risk.judging.verdict import MIN_CLUSTERS, clusters_of_both
from mist_jax.risk.judging.views import ANY_EVENT, FIRST, MEAN, WITHIN_TASK
from mist_jax.risk.study.checkpoint import RiskMetadata
from mist_jax.signed import DIMENSION, SIGN

SUBJECT_COLOUR, CLOCK_COLOUR = "#1f77b4", "#d62728"
# Beside the subject's blue; the tenth and later lines of one panel would be grey.
_LINES = (
    "#d62728", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf", "black",
)  # fmt: skip
COLOURS = tuple(colormaps["tab10"](i) for i in range(10))
BEFORE = 48  # control steps before the first event over which risk is drawn


def draw_all(
    folder: Path, evidence: Evidence, card: Mapping[str, Any], metadata: RiskMetadata
) -> list[Path]:
    """Draws every figure into `folder` as PNG and returns their paths."""
    figures = {
        "curves": curves(evidence),
        "reliability": reliability(evidence),
        "detectors": detectors(card),
        "alarms": alarms(evidence),
        "approach": approach(evidence),
    }
    if metadata.choices:
        figures["layers"] = layers(metadata)
    if "coverage" in card:
        figures["coverage"] = coverage(card)
    if "failures" in card:
        figures["failures"] = failures(card["failures"])
    return save_figures(folder, figures)


def curves(evidence: Evidence) -> Figure:
    """ROC and precision-recall of each signed motion, out of sample."""
    figure = Figure(figsize=(11.5, 4.6), layout="constrained")
    roc, recall = figure.subplots(1, 2)
    roc.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    for i in _drawn(evidence):
        score, label = _column(evidence, i)
        false, true, precision = _operating_points(score, label)
        roc.plot(false, true, label=f"{SIGNED_MOTIONS[i]} ({label.sum()})", **_style(i))
        recall.step(true[1:], precision[1:], where="post", **_style(i))
        recall.axhline(label.mean(), color=_style(i)["color"], linestyle=":", linewidth=0.8)
    roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
    recall.set(
        xlabel="recall",
        ylabel="precision",
        ylim=(0, 1.02),
        title="Precision-recall (dotted: base rate)",
    )
    _legend(recall, evidence, "motion (positives)", roc)
    return figure


def reliability(evidence: Evidence, bins: int = 8) -> Figure:
    """Observed frequency against predicted probability, in bins of equal count."""
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    most = 0.05
    for i in _drawn(evidence):
        score, label = _column(evidence, i)
        parts = np.array_split(np.argsort(score, kind="stable"), bins)
        said = [score[part].mean() for part in parts if len(part)]
        seen = [label[part].mean() for part in parts if len(part)]
        most = max(most, *said, *seen)
        axes.plot(said, seen, marker="o", label=SIGNED_MOTIONS[i], markersize=4, **_style(i))
    axes.plot([0, most], [0, most], color="0.7", linewidth=1)
    axes.set(xlabel="predicted probability", ylabel="observed frequency", title="Reliability")
    _legend(axes, evidence, "motion")
    return figure


def layers(metadata: RiskMetadata) -> Figure:
    """Loss of heads on the rows that select, by the layer or mixture of layers that they read."""
    names = list(metadata.choices)
    figure = Figure(figsize=(6, 1.4 + 0.3 * len(names)), layout="constrained")
    axes = figure.subplots()
    loss = np.asarray(list(metadata.choices.values()))
    best = int(np.argmin(loss))
    axes.scatter(loss, range(len(names)), c=[_emphasis(at == best) for at in range(len(names))])
    _named_rows(axes, names)
    axes.set(xlabel="loss where heads are selected, mean over folds", title="Where risk is read")
    return figure


def detectors(card: Mapping[str, Any]) -> Figure:
    """First events of every detector by group: AUROC within tasks, and what is announced ahead."""
    groups = groups_of(card)
    names = [name for of in groups.values() for name in of]
    figure = Figure(figsize=(12, 1.6 + 0.25 * (len(names) + len(groups))), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    found = card["detectors"]
    over = [name for name, told in card["motions"][FIRST].items() if told["in_mean"]]
    asked = {
        f"Mean over {len(over)} signed motions": lambda one: one[FIRST][MEAN][WITHIN_TASK],
        "Any first event": lambda one: one[FIRST][ANY_EVENT][WITHIN_TASK],
        "Announced ahead": lambda one: one["alarms"][card["announced_by"]]["announced_ahead"],
    }
    for axes, (title, figure_of) in zip(panels, asked.items(), strict=True):
        rows = {name: figure_of(found[name]) for name in names}
        _forest(axes, groups, rows, {card["subject"]: SUBJECT_COLOUR, CLOCK: CLOCK_COLOUR})
        axes.set_title(title)
    for axes in panels[:2]:
        axes.axvline(0.5, color="0.6", linewidth=1)
        axes.set_xlabel("AUROC within tasks")
    panels[2].set(xlabel="share of episodes with a first event", xlim=(-0.02, None))
    figure.suptitle("First harmful events, out of sample; 95% cluster bootstrap", fontsize=10)
    return figure


def alarms(evidence: Evidence) -> Figure:
    """First events announced ahead against clean episodes alarmed, at every level of an alarm.

    One panel per group of detectors, the subject in each.
    """
    seen = {name: one.alarm_score for name, one in evidence.forecasts.items()}
    known = {name: score for name, score in seen.items() if score is not None}
    groups = grouped({name: evidence.groups.get(name, OTHERS) for name in known})
    rows = max(1, (len(groups) + 1) // 2)
    figure = Figure(figsize=(13, 4.3 * rows), layout="constrained")
    panels = figure.subplots(rows, min(2, max(1, len(groups))), squeeze=False).ravel()
    for axes in panels[len(groups) :]:
        axes.set_visible(False)
    curve = {name: trade_off(evidence.samples, score) for name, score in known.items()}
    for axes, (group, names) in zip(panels, groups.items(), strict=False):
        axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
        axes.axvline(evidence.rate, color="0.5", linestyle=":", linewidth=1)
        others = [name for name in names if name != evidence.subject]
        colours = dict(zip(others, _LINES, strict=False))
        if evidence.subject in curve:
            others.append(evidence.subject)  # drawn last, above the others
        for name in others:
            subject = name == evidence.subject
            axes.step(
                *curve[name], where="post", label=name, linewidth=2.2 if subject else 1.2,
                color=SUBJECT_COLOUR if subject else colours.get(name, "0.5"),
            )  # fmt: skip
        axes.set(
            xlabel="clean episodes alarmed",
            ylabel="first events announced ahead",
            title=_capital(group),
            xlim=(0, 1),
            ylim=(0, 1.02),
        )
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    title = "What an alarm costs, at every level of its threshold (dotted: the nominal rate)"
    figure.suptitle(title, fontsize=10)
    return figure


def coverage(card: Mapping[str, Any]) -> Figure:
    """Share of clean episodes alarmed against the nominal one, of every rule."""
    figure = Figure(figsize=(5.4, 4.8), layout="constrained")
    axes = figure.subplots()
    for number, (rule, told) in enumerate(card["coverage"].items()):
        known = [entry for entry in told if entry["alarmed"]["value"] is not None]
        nominal = np.asarray([entry["nominal"] for entry in known]) + 0.003 * number
        value = [entry["alarmed"]["value"] for entry in known]
        bounds = [entry["alarmed"].get("interval") or (np.nan, np.nan) for entry in known]
        spread = np.abs(np.asarray(bounds, float).reshape(-1, 2) - np.asarray(value)[:, None]).T
        axes.errorbar(nominal, value, yerr=spread, fmt="o-", capsize=2, markersize=4, label=rule)
    most = max(
        (entry["nominal"] for told in card["coverage"].values() for entry in told), default=1
    )
    axes.plot([0, most], [0, most], color="0.7", linewidth=1)
    axes.set(xlabel="nominal share", ylabel="achieved share", title="Clean episodes alarmed")
    axes.legend(fontsize=8)
    return figure


def failures(card: Mapping[str, Any]) -> Figure:
    """AUROC of failure detectors, of the subject's risk of any event and of the clock."""
    names = list(card["detectors"])
    shown_as = {name: f"{name}, by the head's risk" if name == ANY else name for name in names}
    figure = Figure(figsize=(9, 1.4 + 0.28 * len(names)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"failure": "Failure (cut at the shortest episode)", "contact": "An event ahead"}
    for axes, (claim, title) in zip(panels, titles.items(), strict=True):
        rows = {shown_as[name]: card["detectors"][name][claim] for name in names}
        colours = {shown_as[ANY]: SUBJECT_COLOUR, CLOCK: CLOCK_COLOUR}
        _forest(axes, {"": list(rows)}, rows, colours)
        axes.set(xlabel="AUROC across tasks", title=title)
        axes.axvline(0.5, color="0.6", linewidth=1)
    title = "Detectors trained on failure, out of sample; 95% cluster bootstrap"
    figure.suptitle(title, fontsize=10)
    return figure


def approach(evidence: Evidence) -> Figure:
    """Mean risk of any event against the time left to the episode's first one."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    samples, usable = evidence.samples, evidence.usable
    left = first_event_step(samples)[samples.episode] - samples.step
    open_ = samples.labels["first"].open
    edges = np.arange(0, BEFORE + 1, 4)
    for name in dict.fromkeys((evidence.subject, CLOCK)):
        if name not in evidence.forecasts or not usable.any():
            continue
        risk = any_event(evidence.forecasts[name].risk, usable)
        parts = [open_ & (left >= a) & (left < b) for a, b in pairwise(edges)]
        shown = [n for n, part in enumerate(parts) if part.any()]
        colour = SUBJECT_COLOUR if name == evidence.subject else CLOCK_COLOUR
        axes.plot(
            [edges[n : n + 2].mean() for n in shown], [risk[parts[n]].mean() for n in shown],
            "o-", color=colour, label=name, markersize=4,
        )  # fmt: skip
        quiet = samples.clean[samples.episode] & open_
        if quiet.any():
            axes.axhline(risk[quiet].mean(), color=colour, linestyle=":", linewidth=0.8)
    axes.axvline(samples.horizon, color="0.6", linewidth=0.8)
    axes.set_xlim(BEFORE, 0)
    axes.set(
        xlabel="control steps to the first event",
        ylabel="mean risk of any event",
        title="Risk before the first event (dotted: clean episodes; line: horizon)",
    )
    if usable.any():
        axes.legend(fontsize=8)
    return figure


def _forest(
    axes: Axes,
    groups: Mapping[str, list[str]],
    rows: Mapping[str, Mapping[str, Any]],
    colours: Mapping[str, Any],
) -> None:
    """A dot and an interval per row, from above, under the name of each group."""
    at, ticks = 0, {}
    for group, names in groups.items():
        if group:
            ticks[at] = _capital(group)
            axes.axhspan(at - 0.5, at + 0.5, color="0.93", linewidth=0)
            at += 1
        for name in names:
            ticks[at], row = name, rows[name]
            if row["value"] is None:
                axes.text(0.02, at, "not measurable", va="center", fontsize=8, color="0.4",
                          transform=axes.get_yaxis_transform())  # fmt: skip
            else:
                low, high = row.get("interval") or (row["value"], row["value"])
                colour = colours.get(name, "0.35")
                axes.plot([low, high], [at, at], color=colour, linewidth=1.6)
                axes.plot(row["value"], at, "o", color=colour, markersize=4.5)
            at += 1
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=9)
    for label in axes.get_yticklabels():
        if label.get_text() in {_capital(group) for group in groups}:
            label.set_fontweight("bold")
    axes.set_ylim(at - 0.4, -0.6)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _emphasis(chosen: bool) -> str:
    return SUBJECT_COLOUR if chosen else "0.35"


def _named_rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()


def _drawn(evidence: Evidence) -> np.ndarray:
    """The motions that were learnt and have enough scenes for a curve to say something."""
    samples = evidence.samples
    rows = samples.valid
    scenes = [clusters_of_both(column, samples.scene[rows]) for column in samples.risk[rows].T]
    return np.flatnonzero(evidence.usable & (np.asarray(scenes) >= MIN_CLUSTERS))


def _style(motion: int) -> dict[str, Any]:
    """One colour per dimension; dashed: towards minus."""
    plus = SIGN[motion] > 0
    return {"color": COLOURS[DIMENSION[motion]], "linestyle": "-" if plus else "--"}


def _column(evidence: Evidence, motion: int) -> tuple[np.ndarray, np.ndarray]:
    rows = evidence.samples.valid
    risk = evidence.forecasts[evidence.subject].risk
    return risk[rows, motion], evidence.samples.risk[rows, motion]


def _operating_points(
    score: np.ndarray, label: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False positive rate, true positive rate and precision at every threshold, from (0, 0)."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=-np.inf) != 0)
    hits, raised = np.cumsum(label[order])[last], last + 1
    true, false = hits / label.sum(), (raised - hits) / (~label).sum()
    precision = hits / raised
    return (np.r_[0.0, false], np.r_[0.0, true], np.r_[1.0, precision])


def _legend(axes: Axes, evidence: Evidence, title: str, of: Axes | None = None) -> None:
    """To the right of `axes`, of the lines of `of` if they are not its own."""
    if len(_drawn(evidence)):
        lines, labels = (of or axes).get_legend_handles_labels()
        axes.legend(
            lines, labels, title=title, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1),
            frameon=False,
        )  # fmt: skip
    else:
        axes.text(
            0.5,
            0.5,
            f"no motion has {MIN_CLUSTERS} scenes with an event",
            ha="center",
            transform=axes.transAxes,
        )
