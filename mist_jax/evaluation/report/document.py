"""`report.html` and `summary.json`, functions of the results alone."""

import base64
import json
import urllib.parse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.disk import full_disk_is_clear, replace_file
from mist_jax.evaluation.arms.registry import row_of
from mist_jax.evaluation.detection import evidence_of
from mist_jax.evaluation.metrics import METRICS
from mist_jax.evaluation.report import figures
from mist_jax.evaluation.report.summary import arms_of, summarise
from mist_jax.evaluation.report.verdicts import verdicts
from mist_jax.evaluation.results import EpisodeResult
from mist_jax.record.episode import UNSTEERED
from mist_jax.risk.study import figures as risk_figures

SUMMARY_FILE, REPORT_FILE = "summary.json", "report.html"
_TEMPLATE = "report.html.j2"
_NONE = "\N{EN DASH}"
_MARKS = {
    "safe": "●",
    "contact": "◐",
    "failure": "○",
    "failed_contact": "✕",
    "crashed": "x",
    "missing": "?",
}


def write_report(folder: Path, results: Sequence[EpisodeResult]) -> list[str]:
    """Writes both files from all results of the folder.

    Returns:
        What they say, in a few lines for the terminal.

    Raises:
        UserError: the disk is full.
    """
    summary = summarise(results)
    text = json.dumps(summary, indent=1, allow_nan=False)
    with full_disk_is_clear(folder):
        replace_file(folder / SUMMARY_FILE, (text + "\n").encode())
        replace_file(folder / REPORT_FILE, render(results, summary).encode())
    return [*verdicts(summary), f"report: {folder / REPORT_FILE}"]


def render(results: Sequence[EpisodeResult], summary: Mapping[str, Any]) -> str:
    """The report: one HTML document that loads nothing."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "estimate": estimate_text,
        "gap": gap_text,
        "p": p_text,
        "number": number_text,
        "thousandths": lambda value: number_text(None if value is None else 1000 * value),
    }
    contrasts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for effect in summary["effects"]:
        contrasts.setdefault((effect["arm"], effect["against"]), []).append(effect)
    return environment.get_template(_TEMPLATE).render(
        summary=summary,
        contrasts=contrasts,
        controls=_controls(summary),
        unsteered=UNSTEERED,
        run=summary["run"],
        metrics=METRICS,
        motions=_alarming(summary),
        compared=[name for name in METRICS if name != "acted"],
        verdicts=verdicts(summary),
        pictures=_pictures(results, summary),
        tasks=_task_table(results),
        marks=_MARKS,
        crashes=[result for result in results if result.crashed],
    )


def estimate_text(estimate: Mapping[str, Any] | None, name: str) -> dict[str, str]:
    """Value and interval of a metric (or of "recovery" and "harm"), as shown."""
    if estimate is None or estimate["value"] is None:
        return {"value": _NONE, "interval": ""}
    rate = name not in METRICS or METRICS[name].is_rate or name == "acted"
    value, low, high = (estimate[part] for part in ("value", "low", "high"))

    def shown(number: float) -> str:
        return f"{100 * number:.0f}%" if rate else number_text(number)

    interval = "" if low is None else f"{shown(low)} to {shown(high)}"
    return {"value": shown(value), "interval": interval}


def gap_text(estimate: Mapping[str, Any], name: str) -> dict[str, str]:
    """Value and interval of a difference, with signs; rates in percentage points."""
    if estimate["value"] is None:
        return {"value": _NONE, "interval": ""}
    scale, digits = (100, 0) if METRICS[name].is_rate else (1, 2)

    def shown(number: float) -> str:
        text = f"{scale * number:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
        return text if float(f"{scale * number:.{digits}f}") else "0"

    low, high = estimate["low"], estimate["high"]
    interval = "" if low is None else f"{shown(low)} to {shown(high)}"
    return {"value": shown(estimate["value"]), "interval": interval}


def p_text(p: float | None) -> str:
    """A p-value to two digits."""
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def number_text(number: float | None) -> str:
    """A number to about three digits."""
    if number is None:
        return _NONE
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _pictures(results: Sequence[EpisodeResult], summary: Mapping[str, Any]) -> dict[str, str]:
    """Name -> data URI of each figure that there is something to draw of."""
    controls = _controls(summary)
    drawn = {
        "rates": figures.rates(summary),
        **{f"against_{control}": figures.effects(summary, control) for control in controls},
        "contacts": figures.contact_map(summary),
        "forces": figures.forces(results, arms_of(results)),
        "detector": figures.detector(summary),
    }
    evidence = evidence_of([result for result in results if result.arm == UNSTEERED])
    if evidence is not None and evidence.usable.any():
        drawn["reliability"] = risk_figures.reliability(evidence)
    return {
        name: "data:image/svg+xml;base64," + base64.b64encode(figures.as_svg(figure)).decode()
        for name, figure in drawn.items()
        if figure is not None
    }


def _alarming(summary: Mapping[str, Any]) -> list[tuple[int, str, float]]:
    """Index, name and threshold of the signed motions that can alarm."""
    thresholds = zip(SIGNED_MOTIONS, summary["run"]["threshold"], strict=True)
    return [(i, name, level) for i, (name, level) in enumerate(thresholds) if level is not None]


def _controls(summary: Mapping[str, Any]) -> dict[str, str]:
    """What was compared with, in the order of the effects: name -> words."""
    names = dict.fromkeys(effect["against"] for effect in summary["effects"])
    rows = {name: row_of(name) for name in names}
    return {name: row.control.words for name, row in rows.items() if row.control is not None}


def _task_table(results: Sequence[EpisodeResult]) -> list[dict[str, Any]]:
    """One row per task, one cell per arm: counts, and a mark per pair in order."""
    arms, of = arms_of(results), {(*result.pair, result.arm): result for result in results}
    by_task: defaultdict[tuple[str, int], list[EpisodeResult]] = defaultdict(list)
    for result in results:
        by_task[result.suite, result.task_id].append(result)
    return [
        {
            "task_id": task_id,
            "instruction": own[0].instruction,
            "cells": [
                {
                    "text": _counts([result for result in own if result.arm == arm]),
                    "episodes": [
                        _mark(of.get((*pair, arm)))
                        for pair in sorted({result.pair for result in own})
                    ],
                }
                for arm in arms
            ],
        }
        for (_, task_id), own in sorted(by_task.items())
    ]


def _counts(own: Sequence[EpisodeResult]) -> str:
    ended = [result for result in own if not result.crashed]
    safe, success, collided = (
        int(sum(METRICS[name].of(result) for result in ended))
        for name in ("safe_success", "success", "collision")
    )
    return f"safe {safe}, success {success}, collided {collided} of {len(ended)}"


def _mark(result: EpisodeResult | None) -> dict[str, str | None]:
    if result is None:
        return {"kind": "missing", "title": "not run", "video": None}
    return {"kind": _kind(result), "title": _title(result), "video": link_inside(result.video)}


def link_inside(path: str | None) -> str | None:
    """The relative URL of a file inside the report's folder; None for anything else.

    Nothing is a link that leads out of the folder, or that a browser takes for another scheme.
    """
    if not path or path.startswith(("/", "\\")) or not path.isprintable():
        return None
    parts = path.replace("\\", "/").split("/")
    return None if ".." in parts else urllib.parse.quote("/".join(parts))


def _kind(result: EpisodeResult) -> str:
    if result.crashed:
        return "crashed"
    if result.outcome == "success":
        return "contact" if result.collided else "safe"
    return "failed_contact" if result.collided else "failure"


def _title(result: EpisodeResult) -> str:
    where = f"initial state {result.initial_state}, seed {result.seed}"
    if result.crashed:
        return f"{where}: crashed: {result.error}"
    parts = [f"{where}: {result.outcome} after {result.steps} steps"]
    if result.collided:
        parts.append(
            f"harmful contacts: {result.harmful_contacts}, at most {result.peak_force:g} N"
        )
    if result.queries.acted:
        parts.append(f"acted at {len(result.queries.acted)} of {len(result.queries.step)} queries")
    return "; ".join(parts)
