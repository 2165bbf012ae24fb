"""What to want, learnt for a bank: off the obstacle, toward the expert, and what costs least.

Intents look at what the bank's operator reads at its layer; data and branches must keep that.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mist_jax.counterfactual.fitting.correction import fit_correction, gather_corrections
from mist_jax.counterfactual.fitting.learn import (
    ALONG_NORMAL,
    learn_intents,
    read_branches,
    report,
)
from mist_jax.counterfactual.fitting.normal import NormalTable, fit_normal, gather_normals
from mist_jax.counterfactual.fitting.search import HeldOut, Search
from mist_jax.episodes.index import dataset_hash
from mist_jax.episodes.reader import read_episodes
from mist_jax.errors import UserError
from mist_jax.steering.causal.bank import CausalBank
from mist_jax.steering.causal.effects import SIZES

TOWARD_EXPERT = "toward_expert"


def fit_intents(
    bank: CausalBank,
    data: Sequence[Path],
    branches: Path | None = None,
    search: Search | None = None,
    held_out: HeldOut = "scene",
) -> tuple[CausalBank, dict[str, Any]]:
    """The bank with its intents, and what is known of them, JSON-ready.

    The normal is learnt from the harmful contacts of the unsteered episodes of `data` (or of the
    branches, where there are more of them); without enough of them, or without the activations, it
    is left out and the report says why; so is what the expert would do, learnt from episodes that
    were collected with its labels. The value of actions and its placebo come from `branches`,
    by `search` (default: its own defaults); what they lead to is told of scenes, or tasks, that
    were `held_out`.

    Raises:
        UserError: branches of another model, without the bank's activations, or too few.
    """
    search = search or Search()
    bank, found = _from_branches(bank, data, branches, search, held_out)
    made, learnt = bank.metadata, dict(bank.intents)
    try:
        table = gather_corrections(read_episodes(*data), made.reads, made.layer, place=made.site)
        correction = fit_correction(table, search.seed)
    except UserError as error:
        found[TOWARD_EXPERT] = {"absent": str(error)}
    else:
        learnt[TOWARD_EXPERT] = correction.intent(SIZES[1])
        found[TOWARD_EXPERT] = {
            "queries": correction.states,
            "features": len(correction.weights),
            "explained on held-out scenes": correction.explained,
        }
    return replace(bank, intents=learnt), _finite(found)


def _from_branches(
    bank: CausalBank,
    data: Sequence[Path],
    branches: Path | None,
    search: Search,
    held_out: HeldOut,
) -> tuple[CausalBank, dict[str, Any]]:
    """The bank with what contacts and branches teach, and what is known of it."""
    made = bank.metadata
    normals: NormalTable | None = None
    absent = ""
    try:
        normals = gather_normals(read_episodes(*data), made.reads, made.layer, place=made.site)
    except UserError as error:
        absent = str(error)
    if branches is not None:
        table = read_branches(branches, made.reads, made.layer, place=made.site)
        if table.model != made.model:
            raise UserError(
                f"--branches: they are of {table.model!r}, the causal bank is of {made.model!r}"
            )
        learnt = learn_intents(table, search, normals)
        made = replace(made, branches_hash=dataset_hash(branches))
        bank = replace(bank, intents=learnt.intents(), metadata=made)
        return bank, report(table, learnt, search, held_out)
    if normals is not None:
        try:
            normal = fit_normal(normals, search.seed)
        except UserError as error:
            absent = str(error)
        else:
            cosines = {"cosine": normal.cosine, "task_cosine": normal.task_cosine}
            found = {ALONG_NORMAL: {"states": normal.states, **cosines}}
            return replace(bank, intents={ALONG_NORMAL: normal.intent(SIZES[1])}), found
    return bank, {ALONG_NORMAL: {"absent": absent}}


def _finite(value: Any) -> Any:
    """The same with None for numbers that JSON has not."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
