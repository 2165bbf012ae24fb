"""What a causal bank's summary, figure and printed table say."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mist_jax.disk import replace_file
from mist_jax.figures import save_figures
from mist_jax.steering.causal.bank import CausalBank
from mist_jax.steering.causal.build import CausalFindings
from mist_jax.steering.causal.effects import CROSS_TALK, SLOPE, Effects

SUMMARY, ENTRY, FIGURE = "summary.json", "causal", "causal_effects"


def save_causal_report(
    folder: Path,
    bank: CausalBank,
    findings: CausalFindings,
    intents: Mapping[str, Any] | None = None,
) -> None:
    """Adds the entry "causal" to `folder`/summary.json and a figure to its plots.

    `intents` is what is known of the fitted ones, JSON-ready.
    """
    path = folder / SUMMARY
    summary = json.loads(path.read_bytes()) if path.is_file() else {}
    summary[ENTRY] = causal_summary(bank, findings) | {"intents": dict(intents or {})}
    replace_file(path, (json.dumps(summary, indent=1, allow_nan=False) + "\n").encode())
    save_figures(folder / "plots", {FIGURE: draw_effects(bank)})


def causal_summary(bank: CausalBank, findings: CausalFindings) -> dict[str, Any]:
    """Where it pushes, what was chosen and tried, and the measured effects; JSON-ready."""
    fitted, chosen, tested = findings.states
    return {
        **dataclasses.asdict(bank.metadata),
        "scenes_held_out": {"states_fitted": fitted, "chosen_on": chosen, "tested_on": tested},
        "first_order": {
            str(layer): {form: dataclasses.asdict(one) for form, one in choices.items()}
            for layer, choices in findings.choices.items()
        },
        "effects": {form: effects_summary(found) for form, found in bank.effects.items()},
    }


def effects_summary(effects: Effects) -> dict[str, Any]:
    """Effects with their verdicts, JSON-ready."""
    return {
        "states": effects.states,
        "sizes": list(effects.sizes),
        "slope": effects.slope,
        "cross_talk": effects.cross_talk,
        "motions": {
            one.motion: {
                "causal": one.causal,
                "reason": one.reason,
                **{k: v for k, v in dataclasses.asdict(one).items() if k != "motion"},
            }
            for one in effects.motions
        },
    }


def effect_rows(effects: Effects) -> list[tuple[str, ...]]:
    """Rows to print: motion, sign right, realised over wanted, cross-talk, verdict."""
    return [
        (
            one.motion,
            f"{one.right} of {one.count}",
            f"{one.slope[1]:.2f} ({one.slope[0]:.2f} to {one.slope[2]:.2f})",
            f"{one.cross_talk[1]:.2f}",
            "causal" if one.causal else one.reason,
        )
        for one in effects.motions
    ]


def draw_effects(bank: CausalBank) -> Figure:
    """Realised over wanted, and cross-talk, of each motion and form: medians and quartiles."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, (form, effects) in enumerate(bank.effects.items()):
        for axes, name in ((left, "slope"), (right, "cross_talk")):
            quartiles = [getattr(one, name) for one in effects.motions]
            middle = [q[1] for q in quartiles]
            spread = [[q[1] - q[0] for q in quartiles], [q[2] - q[1] for q in quartiles]]
            x = [i + 0.2 * (place - 1) for i in range(len(middle))]
            axes.errorbar(x, middle, yerr=spread, fmt="o", markersize=4, label=form, capsize=2)
    names = [one.motion for one in next(iter(bank.effects.values())).motions]
    for axes in (left, right):
        axes.set_xticks(range(len(names)), names)
    left.axhspan(*SLOPE, color="0.93", zorder=0)
    right.axhspan(0, CROSS_TALK, color="0.93", zorder=0)
    made = bank.metadata
    states = next(iter(bank.effects.values())).states
    left.set(ylabel="realised over wanted change", title=f"{made.site}, layer {made.layer}")
    right.set(ylabel="change of the other dimensions", title=f"{states} states of held-out scenes")
    left.set_ylim(bottom=0)
    right.set_ylim(bottom=0)
    left.legend(title="push", fontsize=8)
    return figure
