"""Branches with a known answer: an obstacle at a known side; activations know it or do not."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from mist_jax.counterfactual.fitting.table import BranchTable
from mist_jax.intervention.site import join_site
from mist_jax.record.contact import Contact
from mist_jax.record.episode import Episode, EpisodeKey
from tests.helpers import synthetic_episodes

SIZE = 0.3
READS = ("action", "image")
LAYER = 2
WAYS = {"x": 0, "y": 1, "z": 2}


def offsets(size: float = SIZE) -> dict[str, list[float]]:
    """Zero, and a step either way along x, y and z."""
    found = {"0": [0.0] * 7}
    for name, place in WAYS.items():
        for sign in (1, -1):
            found[f"{name}{'+' if sign > 0 else '-'}"] = [
                sign * size if index == place else 0.0 for index in range(7)
            ]
    return found


@dataclass(frozen=True)
class Oracle:
    """A table and what made it: `chance` [forks, K] of harm, `best` the safest offset [forks]."""

    table: BranchTable
    chance: np.ndarray
    best: np.ndarray


def branch_table(
    forks: int = 400,
    *,
    scenes: int = 120,
    width: int = 48,
    known: float = 1.0,
    strength: float = 4.0,
    unread: float = 1.5,
    seed: int = 0,
) -> Oracle:
    """The obstacle lies along a way n (unit, x, y, z) and harms with log-odds r - strength * a.n /
    size, so that the best offset is the axis nearest to n. Features hold n and half of r, mixed
    with noise; `known` scales what they hold of n (0: nothing). Success is likelier without harm,
    and no offset helps it otherwise. `unread` is the standard deviation of the part of r that the
    features do not hold.
    """
    rng = np.random.default_rng(seed)
    scene = np.sort(rng.integers(0, scenes, forks))
    task = scene % 5
    normal = rng.normal(size=(forks, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    seen, unseen = rng.normal(size=forks), unread * rng.normal(size=forks)
    hidden = np.concatenate([known * 3 * normal, 2 * seen[:, None]], axis=1)
    mixing = np.linalg.qr(rng.normal(size=(width, width)))[0]
    noise = rng.normal(size=(forks, width)) * np.linspace(1.0, 0.1, width)
    noise[:, :4] *= 0.3
    noise[:, :4] += hidden
    names = offsets()
    values = np.asarray(list(names.values()), np.float32)
    score = (seen + unseen)[:, None] - strength * (normal @ values[:, :3].T) / SIZE
    chance = expit(score)
    later = rng.random(chance.shape) < chance
    soon = later & (rng.random(chance.shape) < 0.8)
    success = rng.random(chance.shape) < np.where(later, 0.3, 0.8)
    motions = np.zeros((forks, 14), bool)
    largest = np.abs(normal).argmax(axis=1)
    motions[np.arange(forks), 2 * largest + (normal[np.arange(forks), largest] > 0)] = True
    harmed = soon[:, 0]
    table = BranchTable(
        model="toy@1",
        place="llm.resid",
        reads=READS,
        layer=LAYER,
        names=tuple(names),
        offsets=values,
        features=(noise @ mixing).astype(np.float32),
        soon=soon,
        later=later,
        success=success,
        left=np.full(forks, 100, np.int32),
        step=np.full(forks, 40, np.int32),
        query=np.full(forks, 5, np.int32),
        scene=scene.astype(np.int64),
        task=task.astype(np.int64),
        instruction=np.asarray([f"task {one}" for one in task]),
        motions=motions & harmed[:, None],
        normal=np.where(harmed[:, None], normal, np.nan).astype(np.float32),
        ahead=np.where(harmed, 4.0, np.inf).astype(np.float32),
        rules={},
        horizon=16,
        left_out=0,
    )
    return Oracle(table, chance, chance.argmin(axis=1))


def branch_episodes(oracle: Oracle, *, fork: int = 40, length: int = 96) -> list[Episode]:
    """The same branches as the episodes a collection would write, the zero branch last."""
    table = oracle.table
    width = table.features.shape[1] // len(READS)
    made = []
    for row in range(len(table)):
        for column in np.argsort(table.names == np.asarray("0"), kind="stable"):
            begins = fork + (3 if table.soon[row, column] else 30)
            normal = np.nan_to_num(np.asarray(table.normal[row], np.float64))
            contacts = [_contact(begins, table.motions[row], normal)]
            plain = synthetic_episodes.episode(
                contacts if table.later[row, column] else (),
                length=length,
                outcome="success" if table.success[row, column] else "failure",
                task=int(table.task[row]),
                instruction=str(table.instruction[row]),
            )
            key = EpisodeKey(
                "libero_spatial",
                int(table.task[row]),
                int(table.scene[row]),
                row,
                f"branch:{int(table.query[row])}:{table.names[column]}",
            )
            asked = plain.queries.step >= fork
            sites = [join_site("llm.resid", role) for role in READS]
            stored = {site: np.zeros((int(asked.sum()), 2, width), np.float32) for site in sites}
            for place, site in enumerate(sites):
                part = slice(place * width, (place + 1) * width)
                stored[site][0, 1] = table.features[row, part]
            queries = replace(
                plain.queries,
                step=plain.queries.step[asked],
                raw_actions=plain.queries.raw_actions[asked],
                activations=stored,
                layers=dict.fromkeys(sites, (1, LAYER)),
            )
            made.append(
                replace(plain, key=key, queries=queries, max_steps=fork + int(table.left[row]))
            )
    return made


def _contact(step: int, motions: np.ndarray, normal: np.ndarray) -> Contact:
    driving = np.flatnonzero(motions)
    plain = synthetic_episodes.contact(step, {int(m) // 2: 1.0 for m in driving})
    way = np.ones(7)
    way[driving // 2] = np.where(driving % 2 == 0, 1.0, -1.0)
    return replace(plain, motion=way * plain.motion, normal=normal)
