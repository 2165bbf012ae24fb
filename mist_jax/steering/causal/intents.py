"""What to want, fitted for a bank: the contact's normal, and the value of actions with its placebo.

Intents look at what the bank's operator reads at its layer; data and branches must keep that.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mist_jax.counterfactual.fitting.fit import FittedValue, fit_action_value
from mist_jax.counterfactual.fitting.judge import judge
from mist_jax.counterfactual.fitting.normal import fit_normal, gather_normals
from mist_jax.counterfactual.fitting.placebo import acting_as_often, permuted
from mist_jax.counterfactual.fitting.search import Search
from mist_jax.counterfactual.fitting.table import BranchTable, gather_branches
from mist_jax.episodes.dataset_info import load_info
from mist_jax.episodes.index import dataset_hash
from mist_jax.episodes.reader import read_episodes
from mist_jax.errors import UserError
from mist_jax.intervention.intent.intent import ActionIntent
from mist_jax.steering.causal.bank import ACTION_VALUE, NORMAL, PERMUTED, CausalBank
from mist_jax.steering.causal.effects import SIZES


def fit_intents(
    bank: CausalBank, data: Sequence[Path], branches: Sequence[Path] = (), seed: int = 0
) -> tuple[CausalBank, dict[str, Any]]:
    """The bank with its intents, and what is known of them, JSON-ready.

    The normal is learnt from the harmful contacts of the unsteered episodes of `data`; where there
    are too few, or their activations are not stored, it is left out and the report says why. The
    value of actions and its placebo, fitted to permuted outcomes, are learnt from `branches`.

    Raises:
        UserError: branches of another model, without the bank's activations, or too few.
    """
    made = bank.metadata
    intents: dict[str, ActionIntent] = {}
    report: dict[str, Any] = {}
    try:
        normals = gather_normals(read_episodes(*data), made.reads, made.layer, place=made.site)
        normal = fit_normal(normals, seed)
        intents[NORMAL] = normal.intent(SIZES[1])
        report[NORMAL] = {
            "states": normal.states,
            "cosine": normal.cosine,
            "task_cosine": normal.task_cosine,
        }
    except UserError as error:
        report[NORMAL] = {"absent": str(error)}
    if branches:
        table = _table(bank, branches)
        search = Search(seed=seed)
        value = fit_action_value(table, search)
        acts = float((value.choose(table.features) != table.zero).mean())
        placebo = fit_action_value(permuted(table, seed), search)
        placebo = acting_as_often(placebo, table.features, acts)
        intents |= {ACTION_VALUE: value.intent(), PERMUTED: placebo.intent()}
        report[ACTION_VALUE] = _described(value) | {"acts": acts, "judged": judge(table, search)}
        report[PERMUTED] = _described(placebo)
        made = replace(made, branches_hash=dataset_hash(*branches))
    return replace(bank, intents=intents, metadata=made), _finite(report)


def _table(bank: CausalBank, branches: Sequence[Path]) -> BranchTable:
    made = bank.metadata
    offsets = [load_info(folder).setup.get("offsets", {}) for folder in branches]
    if any(one != offsets[0] for one in offsets):
        raise UserError("--branches: the folders tried different offsets; give them one by one")
    table = gather_branches(
        read_episodes(*branches), offsets[0], made.reads, made.layer, place=made.site
    )
    if table.model != made.model:
        raise UserError(
            f"--branches: they are of {table.model!r}, the causal bank is of {made.model!r}"
        )
    return table


def _described(value: FittedValue) -> dict[str, Any]:
    return {
        "harm": value.harm_kind,
        "weight": value.weight,
        "price": value.price,
        "margin": value.margin,
    }


def _finite(value: Any) -> Any:
    """The same with None for numbers that JSON has not."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value
