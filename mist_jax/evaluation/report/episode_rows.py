"""Every episode of a run: a mark for each in the table of tasks, and a row with its figures."""

import urllib.parse
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mist_jax.evaluation.metrics import METRICS
from mist_jax.evaluation.report.charts.names import contact_words
from mist_jax.evaluation.results import EpisodeResult

MARKS = {
    "safe": "●",
    "contact": "◐",
    "failure": "○",
    "failed_contact": "✕",
    "crashed": "x",
    "missing": "?",
}
SAID = {
    "safe": "safe success",
    "contact": "success, hit something",
    "failure": "failure",
    "failed_contact": "failure, hit something",
    "crashed": "crashed",
    "missing": "not run",
}


def task_table(results: Sequence[EpisodeResult], arms: Sequence[str]) -> list[dict[str, Any]]:
    """One row per task, one cell per arm: counts, and a mark per pair in order."""
    of = {(*result.pair, result.arm): result for result in results}
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
    return f"{safe} safe, {success} done, {collided} hit, of {len(ended)}"


def _mark(result: EpisodeResult | None) -> dict[str, str | None]:
    if result is None:
        return {"kind": "missing", "title": "not run", "video": None}
    return {"kind": kind_of(result), "title": _title(result), "video": link_inside(result.video)}


def episode_table(results: Sequence[EpisodeResult]) -> list[dict[str, Any]]:
    """One row per episode, as they were stored."""
    return [
        {
            "task_id": result.task_id,
            "initial_state": result.initial_state,
            "seed": result.seed,
            "arm": result.arm,
            "kind": kind_of(result),
            "says": result.error if result.crashed else "",
            "steps": result.steps,
            "contacts": result.harmful_contacts,
            "first": first_contact(result),
            "peak_force": result.peak_force,
            "alarms": sum(1 for count in result.queries.alarms if count),
            "acted": len(result.queries.acted),
            "queries": len(result.queries.step),
            "video": link_inside(result.video),
        }
        for result in results
    ]


def first_contact(result: EpisodeResult) -> str:
    """What was hit first and when, such as "hand on plate at step 54"; "" without a contact."""
    if not result.contacts:
        return ""
    first = min(result.contacts, key=lambda contact: contact.step)
    link = f"held {first.link}" if first.grasped else first.link
    return f"{contact_words({'link': link, 'obstacle': first.obstacle})} at step {first.step}"


def link_inside(path: str | None) -> str | None:
    """The relative URL of a file inside the report's folder; None for anything else.

    Nothing is a link that leads out of the folder, or that a browser takes for another scheme.
    """
    if not path or path.startswith(("/", "\\")) or not path.isprintable():
        return None
    parts = path.replace("\\", "/").split("/")
    return None if ".." in parts else urllib.parse.quote("/".join(parts))


def kind_of(result: EpisodeResult) -> str:
    """How it ended: a key of `MARKS` and `SAID`."""
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
