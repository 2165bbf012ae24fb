"""What acting by the fitted intents would have led to, on scenes that no choice has seen.

Every outer fold of scenes is judged by intents that were chosen and fitted on the others alone:
components, ridges, weight, price and margin included. Branches really ran, so that the value of a
policy over offsets is the mean of what its branches led to, without a model.
"""

from typing import Any

import numpy as np

from mist_jax.counterfactual.fitting.fit import (
    SUCCESS,
    fit_action_value,
    losses,
    outcome,
)
from mist_jax.counterfactual.fitting.placebo import acting_as_often, permuted
from mist_jax.counterfactual.fitting.policies import (
    CEILING,
    KNOWN_MOTION,
    KNOWN_NORMAL,
    ZERO,
    along_learnt,
    bounds,
    of_rule,
    of_weights,
    only,
    random_where,
    values,
)
from mist_jax.counterfactual.fitting.regret import regrets
from mist_jax.counterfactual.fitting.search import HeldOut, Search, scene_folds
from mist_jax.counterfactual.fitting.table import BranchTable
from mist_jax.risk.judging.metrics import auroc, calibration_error, cluster_weights

REPLICATES = 2000
VALUE, PLACEBO, FIXED = "action value", "permuted", "best single offset"
NORMAL, RANDOM = "along the learned normal", "random where the action value acts"
ORDER = (ZERO, VALUE, PLACEBO, RANDOM, FIXED, NORMAL, KNOWN_MOTION, KNOWN_NORMAL, CEILING)


def judge(table: BranchTable, search: Search, held_out: HeldOut = "scene") -> dict[str, Any]:
    """A report, of plain numbers, for a summary; whole scenes, or whole tasks, are held out.

    `policies` tells of each what its branches led to and the gain over the zero offset, with
    intervals by scenes; those that know the zero branch's contact or the outcomes are bounds, not
    rivals. `avoided` tells of each how much of the avoidable harm it avoids (`regret.py`).
    `within` is the AUROC among the branches of one fork (0.5: nothing is known of what offsets do),
    `calibration` the expected calibration error, both of the held-out forecasts.

    Raises:
        UserError: too few scenes, or a single task to hold out.
    """
    folds = scene_folds(table, search.folds, search.seed, held_out)
    shape = (len(table), len(table.offsets))
    weights = {name: np.zeros(shape) for name in (VALUE, PLACEBO, FIXED, NORMAL)}
    chances = np.zeros((2, *shape))
    kinds: list[str] = [""] * len(table)
    for fold in np.unique(folds):
        held = folds == fold
        train, test = table.rows(~held), table.rows(held)
        value = fit_action_value(train, search)
        chances[:, held] = value.chances(test.features)
        weights[VALUE][held] = only(value.choose(test.features), shape[1])
        acts = float((value.choose(train.features) != table.zero).mean())
        placebo = fit_action_value(permuted(train, search.seed), search)
        placebo = acting_as_often(placebo, train.features, acts)
        weights[PLACEBO][held] = only(placebo.choose(test.features), shape[1])
        best = losses(train, search.failure).mean(axis=0).argmin()
        weights[FIXED][held] = np.eye(shape[1])[best]
        weights[NORMAL][held] = only(along_learnt(train, test), shape[1])
        for row in np.flatnonzero(held):
            kinds[row] = value.harm_kind
    weights |= bounds(table, search.failure)
    weights[RANDOM] = random_where(weights[VALUE], table.zero)
    weights[ZERO] = only(np.full(len(table), table.zero), shape[1])
    policies = {name: of_weights(table, weights[name]) for name in ORDER}
    policies |= {f"rule: {name}": of_rule(table, ends) for name, ends in table.rules.items()}
    draws = cluster_weights(table.scene, REPLICATES, search.seed)
    harm = np.where(
        (np.asarray(kinds) == "soon")[:, None], outcome(table, "soon"), outcome(table, "later")
    )
    everywhere = np.ones(len(table), bool)
    risky = table.ahead < table.horizon
    return {
        "forks": len(table),
        "scenes": len(np.unique(table.scene)),
        "left_out": table.left_out,
        "offsets": dict(zip(table.names, table.offsets.tolist(), strict=True)),
        "differ": {
            name: int((outcome(table, name).any(1) & ~outcome(table, name).all(1)).sum())
            for name in ("soon", "later", SUCCESS)
        },
        "within": {
            "harm": _within(chances[0], harm),
            SUCCESS: _within(chances[1], table.success),
        },
        "calibration": {
            "harm": float(calibration_error(chances[0].ravel(), harm.ravel())[0]),
            SUCCESS: float(calibration_error(chances[1].ravel(), table.success.ravel())[0]),
        },
        "policies": values(policies, draws, search.failure, everywhere),
        "policies_where_zero_harms_soon": values(policies, draws, search.failure, risky),
        "policies_elsewhere": values(policies, draws, search.failure, ~risky),
        "avoided_where_zero_harms_soon": regrets(policies, table, draws, search.failure, risky),
        "avoided": regrets(policies, table, draws, search.failure, everywhere),
    }


def _within(probability: np.ndarray, label: np.ndarray) -> float | None:
    """AUROC among branches of one fork, over the forks whose branches differ; None without any."""
    mixed = np.flatnonzero(label.any(1) & ~label.all(1))
    if len(mixed) == 0:
        return None
    fork = np.repeat(np.arange(len(mixed)), label.shape[1])
    return float(auroc(probability[mixed].ravel(), label[mixed].ravel(), stratum=fork)[0])
