"""From a folder of branches to the intents that a policy is steered by, and how good they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mist_jax.counterfactual.fitting.fit import FittedValue, fit_action_value
from mist_jax.counterfactual.fitting.judge import judge
from mist_jax.counterfactual.fitting.normal import (
    FittedNormal,
    NormalTable,
    fit_normal,
    normals_of_branches,
)
from mist_jax.counterfactual.fitting.placebo import acting_as_often, permuted
from mist_jax.counterfactual.fitting.search import HeldOut, Search
from mist_jax.counterfactual.fitting.table import BranchTable, gather_branches
from mist_jax.episodes.dataset_info import load_info
from mist_jax.episodes.reader import read_episodes
from mist_jax.errors import UserError
from mist_jax.intervention.intent.intent import ActionIntent
from mist_jax.intervention.site import DEFAULT_SITE
from mist_jax.record.contact import DEFAULT_HORIZON

ACTION_VALUE, ALONG_NORMAL, PERMUTED = "action_value", "along_normal", "permuted"


@dataclass(frozen=True)
class LearntIntents:
    """What is learnt of one table; `normal` is None where there are too few contacts for it.

    `permuted` is fitted to outcomes dealt anew and acts in as many of the table's forks as `value`.
    `length` is that of the change along the normal, executed units a control step.
    """

    value: FittedValue
    permuted: FittedValue
    normal: FittedNormal | None
    length: float

    def intents(self) -> dict[str, ActionIntent]:
        """By name, as the forward takes them."""
        found: dict[str, ActionIntent] = {
            ACTION_VALUE: self.value.intent(),
            PERMUTED: self.permuted.intent(),
        }
        if self.normal is not None:
            found[ALONG_NORMAL] = self.normal.intent(self.length)
        return found

    def as_json(self) -> dict[str, Any]:
        """What was chosen, as plain JSON values."""
        chosen = {
            name: {
                "harm": value.harm_kind,
                "weight": value.weight,
                "price": value.price,
                "margin": value.margin,
                "features": value.strengths["harm"].kept,
                "ridges": {
                    outcome: None if np.isinf(strength.ridge) else strength.ridge
                    for outcome, strength in value.strengths.items()
                },
            }
            for name, value in ((ACTION_VALUE, self.value), (PERMUTED, self.permuted))
        }
        if self.normal is None:
            return chosen
        normal = {
            "states": self.normal.states,
            "features": len(self.normal.weights),
            "cosine on held-out scenes": self.normal.cosine,
            "cosine of the task's mean normal": self.normal.task_cosine,
            "length": self.length,
        }
        return {**chosen, ALONG_NORMAL: normal}


def read_branches(
    folder: Path,
    reads: Sequence[str],
    layer: int,
    *,
    place: str = DEFAULT_SITE,
    horizon: int = DEFAULT_HORIZON,
) -> BranchTable:
    """The table of a folder that collect_branches has written.

    Raises:
        UserError: it is another folder, or one that cannot be gathered.
    """
    info = load_info(folder)
    offsets: Mapping[str, Sequence[float]] | None = info.setup.get("offsets")
    if info.kind != "branches" or not isinstance(offsets, Mapping):
        raise UserError(
            f"{folder} holds a dataset of the kind {info.kind!r}, not of branches; name a folder "
            "that collect_branches has written"
        )
    episodes = read_episodes(folder)
    return gather_branches(episodes, offsets, reads, layer, place=place, horizon=horizon)


def learn_intents(
    table: BranchTable, search: Search, normals: NormalTable | None = None
) -> LearntIntents:
    """Fits to all of the table; normals are learnt from `normals` where there are more of them.

    Raises:
        UserError: too few scenes, or features that do not vary.
    """
    value = fit_action_value(table, search)
    acts = float((value.choose(table.features) != table.zero).mean())
    placebo = fit_action_value(permuted(table, search.seed), search)
    own = normals_of_branches(table)
    known = normals if normals is not None and len(normals) > len(own) else own
    try:
        normal = fit_normal(known, search.seed)
    except UserError:
        normal = None
    return LearntIntents(
        value=value,
        permuted=acting_as_often(placebo, table.features, acts),
        normal=normal,
        length=float(np.linalg.norm(table.offsets[:, :3], axis=1).max()),
    )


def report(
    table: BranchTable, learnt: LearntIntents, search: Search, held_out: HeldOut = "scene"
) -> dict[str, Any]:
    """The report for a summary: what was chosen, and the values of policies on what is held out."""
    judged = judge(table, search, held_out)
    return {"chosen": learnt.as_json(), "held out": {"unit": held_out, **judged}}
