"""What acting by the fitted intents would have led to, on scenes that no choice has seen.

Every outer fold of scenes is judged by intents that were chosen and fitted on the others alone:
components, ridges, weight, price and margin included. Branches really ran, so that the value of a
policy over offsets is the mean of what its branches led to, without a model.
"""

from typing import Any

import numpy as np

from mist_jax.counterfactual.fit import (
    SUCCESS,
    fit_action_value,
    losses,
    outcome,
    zero_of,
)
from mist_jax.counterfactual.normal import fit_normal, normals_of_branches
from mist_jax.counterfactual.placebo import acting_as_often, permuted
from mist_jax.counterfactual.search import Search, scene_folds
from mist_jax.counterfactual.table import BranchTable
from mist_jax.errors import UserError
from mist_jax.risk.judging.metrics import auroc, calibration_error, cluster_weights, interval
from mist_jax.signed import DIMENSION, SIGN

REPLICATES = 2000
ZERO, VALUE, PLACEBO, FIXED = "zero", "action value", "permuted", "best single offset"
NORMAL, RANDOM = "along the learned normal", "random where the action value acts"
KNOWN_MOTION, KNOWN_NORMAL, CEILING = (
    "against the true motion",
    "along the true normal",
    "best of each fork, known afterwards",
)


def judge(table: BranchTable, search: Search) -> dict[str, Any]:
    """A report, of plain numbers, for a summary.

    `policies` tells of each what its branches led to and the gain over the zero offset, with
    intervals by scenes; those that know the zero branch's contact or the outcomes are bounds, not
    rivals. `within` is the AUROC among the branches of one fork (0.5: nothing is known of what
    offsets do), `calibration` the expected calibration error, both of the held-out forecasts.

    Raises:
        UserError: too few scenes.
    """
    folds = scene_folds(table, search.folds, search.seed)
    shape = (len(table), len(table.offsets))
    weights = {name: np.zeros(shape) for name in (VALUE, PLACEBO, FIXED, NORMAL)}
    chances = np.zeros((2, *shape))
    kinds: list[str] = [""] * len(table)
    for fold in np.unique(folds):
        held = folds == fold
        train, test = table.rows(~held), table.rows(held)
        value = fit_action_value(train, search)
        chances[:, held] = value.chances(test.features)
        weights[VALUE][held] = _only(value.choose(test.features), shape[1])
        acts = float((value.choose(train.features) != zero_of(table.offsets)).mean())
        placebo = fit_action_value(permuted(train, search.seed), search)
        placebo = acting_as_often(placebo, train.features, acts)
        weights[PLACEBO][held] = _only(placebo.choose(test.features), shape[1])
        best = losses(train, search.failure).mean(axis=0).argmin()
        weights[FIXED][held] = np.eye(shape[1])[best]
        weights[NORMAL][held] = _only(_along_learnt(train, test), shape[1])
        for row in np.flatnonzero(held):
            kinds[row] = value.harm_kind
    weights |= _bounds(table, search.failure)
    weights[RANDOM] = _random_where(weights[VALUE], zero_of(table.offsets))
    draws = cluster_weights(table.scene, REPLICATES, search.seed)
    harm = np.where(
        (np.asarray(kinds) == "soon")[:, None], outcome(table, "soon"), outcome(table, "later")
    )
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
        "policies": _values(table, weights, draws, search, np.ones(len(table), bool)),
        "policies_where_zero_harms_soon": _values(table, weights, draws, search, risky),
        "policies_elsewhere": _values(table, weights, draws, search, ~risky),
    }


def along(offsets: np.ndarray, way: np.ndarray) -> np.ndarray:
    """The offset that points most along `way` [n, A], int [n]; the zero one where `way` is zero."""
    norm = np.linalg.norm(offsets, axis=1)
    cosine = way @ (offsets / np.where(norm > 0, norm, 1)[:, None]).T
    cosine[:, zero_of(offsets)] = 1e-9  # chosen where nothing points that way at all
    return cosine.argmax(axis=1)


def _along_learnt(train: BranchTable, test: BranchTable) -> np.ndarray:
    """Away along the normal learnt from `train`; standing pat where it cannot be learnt."""
    way = np.zeros((len(test), test.offsets.shape[1]))
    try:
        way[:, :3] = fit_normal(normals_of_branches(train))(test.features)
    except UserError:
        pass
    return along(test.offsets, way)


def _bounds(table: BranchTable, failure: float) -> dict[str, np.ndarray]:
    """Policies that know what nobody knows at the fork."""
    offsets, size = table.offsets, table.size
    near = (table.ahead < table.horizon)[:, None]
    against = np.zeros((len(table), len(size)))
    for motion, dimension in enumerate(DIMENSION):
        moves = table.motions[:, motion] & near[:, 0]
        against[:, dimension] -= SIGN[motion] * moves * size[dimension]
    against[:, (offsets == 0).all(axis=0)] = 0
    away = np.zeros_like(against)
    away[:, :3] = np.where(near, np.nan_to_num(table.normal), 0)
    best = losses(table, failure).argmin(axis=1)
    return {
        KNOWN_MOTION: _only(along(offsets, against), len(offsets)),
        KNOWN_NORMAL: _only(along(offsets, away), len(offsets)),
        CEILING: _only(best, len(offsets)),
    }


def _random_where(weights: np.ndarray, zero: int) -> np.ndarray:
    """Every offset but the zero one alike, wherever `weights` [forks, K] does not choose zero."""
    count = weights.shape[1]
    other = np.full(count, 1 / (count - 1))
    other[zero] = 0
    stands = weights[:, [zero]]
    return stands * np.eye(count)[zero] + (1 - stands) * other


def _only(choice: np.ndarray, count: int) -> np.ndarray:
    return np.eye(count)[choice]


def _within(probability: np.ndarray, label: np.ndarray) -> float:
    """AUROC among branches of one fork, over the forks whose branches differ; nan without any."""
    mixed = np.flatnonzero(label.any(1) & ~label.all(1))
    if len(mixed) == 0:
        return float("nan")
    fork = np.repeat(np.arange(len(mixed)), label.shape[1])
    return float(auroc(probability[mixed].ravel(), label[mixed].ravel(), stratum=fork)[0])


def _values(
    table: BranchTable,
    weights: dict[str, np.ndarray],
    draws: np.ndarray,
    search: Search,
    rows: np.ndarray,
) -> dict[str, Any]:
    """Of every policy: how often it acts, what came of it, and the gain over offset zero."""
    if not rows.any():
        return {}
    zero = zero_of(table.offsets)
    ends = {
        "soon": table.soon[rows].astype(float),
        "later": table.later[rows].astype(float),
        SUCCESS: table.success[rows].astype(float),
        "safe success": (table.success & ~table.later)[rows].astype(float),
        "loss": losses(table, search.failure)[rows],
    }
    drawn = draws[:, rows]
    total = np.maximum(drawn.sum(axis=1), 1e-12)
    standing = np.zeros((int(rows.sum()), len(table.offsets)))
    standing[:, zero] = 1
    told: dict[str, Any] = {}
    for name, all_weights in {ZERO: standing, **weights}.items():
        chosen_here = all_weights if name == ZERO else all_weights[rows]
        told[name] = {"acts": float(1 - chosen_here[:, zero].mean())}
        for what, ended in ends.items():
            came = (chosen_here * ended).sum(axis=1)
            change = came - ended[:, zero]
            told[name][what] = float(came.mean())
            told[name][f"{what} change"] = [
                float(change.mean()),
                *(interval(drawn @ change / total) or (None, None)),
            ]
    return told
