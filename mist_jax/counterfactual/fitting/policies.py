"""Policies over the offsets of forks, and what they led to: every branch of them really ran."""

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from mist_jax.counterfactual.fitting.fit import SUCCESS, losses, zero_of
from mist_jax.counterfactual.fitting.normal import fit_normal, normals_of_branches
from mist_jax.counterfactual.fitting.table import BranchTable
from mist_jax.errors import UserError
from mist_jax.risk.judging.metrics import interval
from mist_jax.signed import DIMENSION, SIGN

ZERO = "zero"
KNOWN_MOTION, KNOWN_NORMAL, CEILING = (
    "against the true motion",
    "along the true normal",
    "best of each fork, known afterwards",
)
CAME = ("soon", "later", SUCCESS, "safe success")


@dataclass(frozen=True)
class PolicyEnds:
    """How often it acts, [forks], and what came of it, [forks, CAME]; shares where it draws."""

    acts: np.ndarray
    came: np.ndarray


def along(offsets: np.ndarray, way: np.ndarray) -> np.ndarray:
    """The offset that points most along `way` [n, A], int [n]; the zero one where `way` is zero."""
    norm = np.linalg.norm(offsets, axis=1)
    cosine = way @ (offsets / np.where(norm > 0, norm, 1)[:, None]).T
    cosine[:, zero_of(offsets)] = 1e-9  # chosen where nothing points that way at all
    return cosine.argmax(axis=1)


def along_learnt(train: BranchTable, test: BranchTable) -> np.ndarray:
    """Away along the normal learnt from `train`; standing pat where it cannot be learnt."""
    way = np.zeros((len(test), test.offsets.shape[1]))
    with contextlib.suppress(UserError):
        way[:, :3] = fit_normal(normals_of_branches(train))(test.features)
    return along(test.offsets, way)


def bounds(table: BranchTable, failure: float) -> dict[str, np.ndarray]:
    """Policies that know what nobody knows at the fork."""
    offsets, size = table.offsets, table.size
    near = np.asarray(table.ahead < table.horizon)[:, None]
    against = np.zeros((len(table), len(size)))
    for motion, dimension in enumerate(DIMENSION):
        moves = table.motions[:, motion] & near[:, 0]
        against[:, dimension] -= SIGN[motion] * moves * size[dimension]
    against[:, (offsets == 0).all(axis=0)] = 0
    away = np.zeros_like(against)
    away[:, :3] = np.where(near, np.nan_to_num(table.normal), 0)
    best = losses(table, failure).argmin(axis=1)
    return {
        KNOWN_MOTION: only(along(offsets, against), len(offsets)),
        KNOWN_NORMAL: only(along(offsets, away), len(offsets)),
        CEILING: only(best, len(offsets)),
    }


def random_where(weights: np.ndarray, zero: int) -> np.ndarray:
    """Every offset but the zero one alike, wherever `weights` [forks, K] does not choose zero."""
    count = weights.shape[1]
    other = np.full(count, 1 / (count - 1))
    other[zero] = 0
    stands = weights[:, [zero]]
    return stands * np.eye(count)[zero] + (1 - stands) * other


def only(choice: np.ndarray, count: int) -> np.ndarray:
    """Weights [forks, count] of choices int [forks]."""
    return np.eye(count)[choice]


def of_weights(table: BranchTable, weights: np.ndarray) -> PolicyEnds:
    """Of a policy that draws offsets by `weights` [forks, K]."""
    ends = np.stack([table.soon, table.later, table.success, _safe(table)], axis=-1)
    came = np.einsum("fk,fke->fe", weights, ends)
    return PolicyEnds(1 - weights[:, zero_of(table.offsets)], came)


def of_rule(table: BranchTable, ends: np.ndarray) -> PolicyEnds:
    """Of a branch of its own at every fork, `ends` [forks, 3]; standing pat where there is none."""
    there = np.isfinite(ends).all(axis=1)
    zero = of_weights(table, only(np.full(len(table), table.zero), len(table.offsets)))
    safe = ends[:, 2] * (1 - ends[:, 1])
    came = np.concatenate([ends, safe[:, None]], axis=1)
    return PolicyEnds(there.astype(float), np.where(there[:, None], came, zero.came))


def _safe(table: BranchTable) -> np.ndarray:
    return np.logical_and(table.success, ~table.later)


def values(
    policies: dict[str, PolicyEnds], draws: np.ndarray, failure: float, rows: np.ndarray
) -> dict[str, Any]:
    """Of every policy: how often it acts, what came of it, and the change from standing pat."""
    if not rows.any():
        return {}
    drawn = draws[:, rows]
    total = np.maximum(drawn.sum(axis=1), 1e-12)
    told: dict[str, Any] = {}
    for name, policy in policies.items():
        told[name] = {"acts": float(policy.acts[rows].mean())}
        ends = {what: policy.came[rows, column] for column, what in enumerate(CAME)}
        still = {what: policies[ZERO].came[rows, column] for column, what in enumerate(CAME)}
        for of in (ends, still):
            of["loss"] = of["later"] + failure * (1 - of[SUCCESS])
        for what, came in ends.items():
            change = came - still[what]
            told[name][what] = float(came.mean())
            told[name][f"{what} change"] = float(change.mean())
            told[name][f"{what} interval"] = interval(drawn @ change / total)
    return told
