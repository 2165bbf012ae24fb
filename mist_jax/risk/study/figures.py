"""The pictures of a risk head, drawn from its evidence and its scorecard."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.figures import save_figures
from mist_jax.risk.judging.evidence import CLOCK, Evidence
from mist_jax.risk.judging.scorecard import LARGEST
from mist_jax.risk.study.checkpoint import RiskMetadata

COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2")
SUBJECT_COLOUR, CLOCK_COLOUR, OTHER_COLOUR = "#1f77b4", "#d62728", "#c7c7c7"
BESIDE = ("#7f7f7f", "#bcbd22", "#17becf", "#9467bd", "#8c564b", "#2ca02c")


def draw_all(
    folder: Path, evidence: Evidence, card: Mapping[str, Any], metadata: RiskMetadata
) -> list[Path]:
    """Draws every figure into `folder` as PNG and returns their paths."""
    figures = {
        "curves": curves(evidence),
        "reliability": reliability(evidence),
        "layers": layers(metadata),
        "baselines": baselines(card),
        "approach": approach(evidence),
    }
    if "published" in card:
        figures["published"] = published(card["published"])
    return save_figures(folder, figures)


def curves(evidence: Evidence) -> Figure:
    """ROC and precision-recall of each dimension, out of sample."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    roc, recall = figure.subplots(1, 2)
    roc.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    for i in _drawn(evidence):
        score, label = _column(evidence, i)
        false, true, precision = _operating_points(score, label)
        roc.plot(false, true, color=COLOURS[i], label=f"{ACTION_DIMENSIONS[i]} ({label.sum()})")
        recall.step(true[1:], precision[1:], where="post", color=COLOURS[i])
        recall.axhline(label.mean(), color=COLOURS[i], linestyle=":", linewidth=0.8)
    roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
    recall.set(
        xlabel="recall",
        ylabel="precision",
        ylim=(0, 1.02),
        title="Precision-recall (dotted: base rate)",
    )
    _legend(roc, evidence, "dimension (positives)")
    return figure


def reliability(evidence: Evidence, bins: int = 8) -> Figure:
    """Observed frequency against predicted probability, in bins of equal count."""
    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    axes = figure.subplots()
    most = 0.05
    for i in _drawn(evidence):
        score, label = _column(evidence, i)
        parts = np.array_split(np.argsort(score, kind="stable"), bins)
        said = [score[part].mean() for part in parts if len(part)]
        seen = [label[part].mean() for part in parts if len(part)]
        most = max(most, *said, *seen)
        axes.plot(said, seen, "o-", color=COLOURS[i], label=ACTION_DIMENSIONS[i], markersize=4)
    axes.plot([0, most], [0, most], color="0.7", linewidth=1)
    axes.set(xlabel="predicted probability", ylabel="observed frequency", title="Reliability")
    _legend(axes, evidence, "dimension")
    return figure


def layers(metadata: RiskMetadata) -> Figure:
    """Validation AUROC of each stored layer, and the one that was chosen."""
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    values = [np.nan if value is None else value for value in metadata.validation_auroc]
    axes.plot(metadata.stored_layers, values, "o-")
    axes.axvline(metadata.layer, color="#d62728", linestyle="--", label=f"chosen: {metadata.layer}")
    axes.axhline(0.5, color="0.8", linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(
        xlabel=f"layer of {metadata.site}",
        ylabel="mean AUROC on validation folds",
        title="Where risk can be read",
    )
    axes.legend()
    return figure


def baselines(card: Mapping[str, Any]) -> Figure:
    """AUROC of the subject (the first) and of those beside it, with 95% intervals."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    places = [*ACTION_DIMENSIONS, "mean"]
    detectors = card["detectors"]
    beside = [name for name in list(detectors)[1:] if name != CLOCK]
    colours = {CLOCK: CLOCK_COLOUR, next(iter(detectors)): SUBJECT_COLOUR}
    colours |= {name: BESIDE[i % len(BESIDE)] for i, name in enumerate(beside)}
    gap = min(0.16, 0.8 / len(detectors))
    for number, (name, detector) in enumerate(detectors.items()):
        rows = [detector["dimensions"][dim]["auroc"] for dim in ACTION_DIMENSIONS]
        rows.append(detector["mean"]["auroc"])
        at = np.arange(len(places)) + (number - (len(detectors) - 1) / 2) * gap
        shown = [i for i, row in enumerate(rows) if row["value"] is not None]
        value = np.asarray([rows[i]["value"] for i in shown])
        bounds = [rows[i].get("interval") or (np.nan, np.nan) for i in shown]
        spread = np.abs(np.asarray(bounds, float).reshape(-1, 2) - value[:, None]).T
        axes.errorbar(
            at[shown], value, yerr=spread, fmt="o", capsize=2, markersize=4,
            color=colours[name], label=name,
        )  # fmt: skip
    axes.axhline(0.5, color="0.8", linewidth=1)
    axes.set_xticks(range(len(places)), places)
    axes.set(ylabel="AUROC", title="Out of sample, 95% cluster bootstrap (blank: not measurable)")
    axes.legend(ncols=len(detectors))
    return figure


def published(card: Mapping[str, Any]) -> Figure:
    """AUROC of failure detectors, of the subject's largest risk and of the clock, from chance."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"failure": "Failure, cut at the shortest episode", "contact": "Contact ahead"}
    names = list(card["detectors"])
    colours = {LARGEST: SUBJECT_COLOUR, CLOCK: CLOCK_COLOUR}
    for axes, (claim, title) in zip(panels, titles.items(), strict=True):
        rows = [card["detectors"][name][claim] for name in names]
        for at, (name, row) in enumerate(zip(names, rows, strict=True)):
            if row["value"] is None:
                axes.text(0.5, at, " not measurable", va="center", fontsize=8, color="0.4")
                continue
            low, high = row.get("interval") or (row["value"], row["value"])
            axes.barh(
                at, row["value"] - 0.5, left=0.5, height=0.6,
                color=colours.get(name, OTHER_COLOUR),
            )  # fmt: skip
            axes.plot([low, high], [at, at], color="0.2", linewidth=1.2)
        axes.axvline(0.5, color="0.6", linewidth=1)
        axes.set(xlim=(0, 1), xlabel="AUROC", title=title)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    title = "Published detectors, all trained on failure, out of sample; 95% cluster bootstrap"
    figure.suptitle(title, fontsize=10)
    return figure


def approach(evidence: Evidence) -> Figure:
    """Mean risk of a dimension against the time left to the contact that it drives."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    samples = evidence.samples
    risk = evidence.forecasts[evidence.subject].risk
    edges = np.linspace(0, samples.horizon, 5)
    for i in _drawn(evidence):
        left = samples.steps_to_onset[:, i]
        parts = [(left >= a) & (left < b) for a, b in pairwise(edges)]
        shown = [n for n, part in enumerate(parts) if part.any()]
        axes.plot(
            [edges[n : n + 2].mean() for n in shown],
            [risk[parts[n], i].mean() for n in shown],
            "o-", color=COLOURS[i], label=ACTION_DIMENSIONS[i], markersize=4,
        )  # fmt: skip
        quiet = samples.valid & ~samples.risk[:, i]
        axes.axhline(risk[quiet, i].mean(), color=COLOURS[i], linestyle=":", linewidth=0.8)
    axes.set_xlim(samples.horizon, 0)
    axes.set(
        xlabel="control steps to the contact",
        ylabel="mean risk",
        title="Risk before a contact (dotted: where none follows)",
    )
    _legend(axes, evidence, "dimension")
    return figure


def _drawn(evidence: Evidence) -> np.ndarray:
    """The dimensions of which both classes are there and a head was learnt."""
    samples = evidence.samples
    label = samples.risk[samples.valid]
    return np.flatnonzero(evidence.usable & label.any(axis=0) & ~label.all(axis=0))


def _column(evidence: Evidence, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    rows = evidence.samples.valid
    risk = evidence.forecasts[evidence.subject].risk
    return risk[rows, dimension], evidence.samples.risk[rows, dimension]


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


def _legend(axes: Axes, evidence: Evidence, title: str) -> None:
    if len(_drawn(evidence)):
        axes.legend(title=title, fontsize=8)
    else:
        axes.text(
            0.5, 0.5, "no dimension has enough contacts", ha="center", transform=axes.transAxes
        )
