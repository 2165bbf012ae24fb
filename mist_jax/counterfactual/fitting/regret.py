"""How much of what the best offset of each fork would have brought a policy over offsets brings.

The best is known afterwards, of every end by itself: with K branches it has K chances, so that part
of it is luck and no choice can reach it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mist_jax.axes import Bool, Float
from mist_jax.counterfactual.fitting.fit import SUCCESS, losses
from mist_jax.counterfactual.fitting.policies import CAME, ZERO, PolicyEnds
from mist_jax.counterfactual.fitting.table import BranchTable
from mist_jax.risk.judging.metrics import interval, ratio

HARMS = ("soon", "later")


def best_ends(table: BranchTable, failure: float) -> dict[str, Float[np.ndarray, "forks"]]:
    """Of each fork the least harm and loss of any of its offsets, and the most success."""
    return {
        "soon": table.soon.min(axis=1).astype(float),
        "later": table.later.min(axis=1).astype(float),
        SUCCESS: table.success.max(axis=1).astype(float),
        "loss": losses(table, failure).min(axis=1).astype(float),
    }


def regrets(
    policies: Mapping[str, PolicyEnds],
    table: BranchTable,
    draws: Float[np.ndarray, "replicates forks"],
    failure: float,
    rows: Bool[np.ndarray, "forks"],
) -> dict[str, Any]:
    """Of each policy, over the forks `rows`, with intervals by the bootstrap's `draws` of scenes.

    `soon avoided` and `later avoided`: the share of the avoidable harm that it avoids, harm under
    the zero offset less its own, over harm under the zero offset less that of each fork's best;
    below 0 it adds harm, None where none is avoidable. `regret`: its loss less that of each fork's
    best. `avoidable` tells of that share itself.
    """
    if not rows.any():
        return {}
    best, drawn = best_ends(table, failure), draws[:, rows]
    still = {what: policies[ZERO].came[rows, CAME.index(what)] for what in (*HARMS, SUCCESS)}
    told: dict[str, Any] = {
        "avoidable": {what: float((still[what] - best[what][rows]).mean()) for what in HARMS}
    }
    for name, policy in policies.items():
        ends = {what: policy.came[rows, CAME.index(what)] for what in still}
        loss = ends["later"] + failure * (1 - ends[SUCCESS]) - best["loss"][rows]
        total = np.maximum(drawn.sum(axis=1), 1e-12)
        one: dict[str, Any] = {
            "regret": float(loss.mean()),
            "regret interval": interval(drawn @ loss / total),
        }
        for what in HARMS:
            gain, room = still[what] - ends[what], still[what] - best[what][rows]
            share = float(ratio(gain.sum(), room.sum()))
            one[f"{what} avoided"] = share if np.isfinite(share) else None
            one[f"{what} avoided interval"] = interval(ratio(drawn @ gain, drawn @ room))
        told[name] = one
    return told


def avoided_rows(report: Mapping[str, Any], which: str) -> list[tuple[str, ...]]:
    """Rows to print: policy, how often it acts, harm soon, harm, success, share of harm avoided.

    `report` is a judge's, `which` the end of its keys, such as "_where_zero_harms_soon" or "".
    """
    of, policies = report.get(f"avoided{which}", {}), report[f"policies{which}"]
    return [
        (
            name,
            *(f"{policies[name][what]:.1%}" for what in ("acts", *HARMS, SUCCESS)),
            _share(of[name], "later avoided"),
            f"{of[name]['regret']:.3f}",
        )
        for name in policies
    ]


def _share(told: Mapping[str, Any], what: str) -> str:
    """A share with its interval, in percent."""
    if told[what] is None:
        return ""
    low_high = told[f"{what} interval"]
    between = "" if low_high is None else f" ({low_high[0]:.0%} to {low_high[1]:.0%})"
    return f"{told[what]:.0%}{between}"
