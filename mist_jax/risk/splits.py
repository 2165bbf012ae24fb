"""Who is trained on and who is tested: folds of whole scenes or whole tasks, never of steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mist_jax.errors import UserError
from mist_jax.risk.features import EpisodeFacts, Samples, numbered

Split = Literal["episode", "task"]
SPLITS: tuple[str, ...] = get_args(Split)
MIN_FOLDS = 3  # one to test, one to stop and select on, one to train on
ROLES = MIN_FOLDS + 2  # and one to calibrate, one to set thresholds
CALIBRATE, THRESHOLD = -1, -2  # what scenes outside the folds are for
RESERVED = 8  # one part in so many calibrates, and one sets thresholds


@dataclass(frozen=True)
class Rows:
    """Which rows one member trains on, and which stop and choose it."""

    train: np.ndarray  # bool [Q]
    select: np.ndarray  # bool [Q]


@dataclass(frozen=True)
class Folds:
    """Five disjoint roles: fold k is tested once, the next one stops and selects, the others train.

    Scenes outside the folds calibrate, or set thresholds; no member learns from either, so that
    they serve each member and the ensemble of all alike. Episodes of one (suite, task, initial
    state) share a role; with `split` "task" all episodes of one instruction do, whatever the suite.
    """

    split: str
    fold: np.ndarray  # int [episodes]: 0 to count - 1, CALIBRATE or THRESHOLD
    count: int

    def test(self, k: int, samples: Samples) -> np.ndarray:
        """bool [Q]: the queries that fold `k` tests."""
        return (self.fold == k)[samples.episode]

    def select(self, k: int, samples: Samples) -> np.ndarray:
        """bool [Q]: the queries that stop and choose the members tested on fold `k`."""
        return (self.fold == (k + 1) % self.count)[samples.episode]

    def train(self, k: int, samples: Samples) -> np.ndarray:
        """bool [Q]: the queries that the members tested on fold `k` are fitted to."""
        inside = (self.fold >= 0)[samples.episode]
        return inside & ~(self.test(k, samples) | self.select(k, samples))

    def calibrate(self, samples: Samples) -> np.ndarray:
        """bool [Q]: the queries that turn scores into probabilities."""
        return (self.fold == CALIBRATE)[samples.episode]

    def threshold(self, samples: Samples) -> np.ndarray:
        """bool [Q]: the queries that set alarm thresholds."""
        return (self.fold == THRESHOLD)[samples.episode]

    def tested(self, samples: Samples) -> np.ndarray:
        """bool [Q]: the queries that some fold tests."""
        return (self.fold >= 0)[samples.episode]

    def labelled(self, k: int, samples: Samples) -> Rows:
        """The queries with something to forecast that the members tested on fold `k` learn from.

        They may be censored: `EventLabels.hazard` says what is known of them, and who does not
        learn from it takes those that are `valid` too.
        """
        known = samples.label.open
        return Rows(self.train(k, samples) & known, self.select(k, samples) & known)


def group_of(facts: EpisodeFacts, split: str) -> tuple[str | int, ...]:
    """What must not be divided over roles."""
    return (facts.instruction,) if split == "task" else facts.scene


def groups_of(episodes: Sequence[EpisodeFacts], split: str) -> np.ndarray:
    """int [episodes]: the number of the group that each is of, from 0.

    A task that its suite's variants word otherwise is one group.
    """
    named = numbered([group_of(facts, split) for facts in episodes])
    if split != "task":
        return named
    task = numbered([facts.scene[:2] for facts in episodes]) + named.max() + 1
    nodes = int(task.max()) + 1
    linked = coo_array((np.ones(len(named)), (named, task)), shape=(nodes, nodes))
    _, group = connected_components(linked, directed=False)
    return np.asarray(group[named], np.int64)


def make_folds(samples: Samples, split: str, count: int, seed: int) -> Folds:
    """Reserves an eighth of the groups to calibrate and one for thresholds, divides the rest.

    Groups are dealt in random order, those with most positive labels first, each to the part that
    has least of what it brings, so that parts are alike in positives, in tasks and in size: clean
    episodes of risky tasks set other thresholds than those of easy ones. There are fewer than
    `count` folds where there are fewer groups.

    Raises:
        UserError: fewer than five groups, or fewer than three folds asked for.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; there are {', '.join(SPLITS)}")
    if count < MIN_FOLDS:
        raise UserError(f"--folds={count}: it takes at least {MIN_FOLDS}")
    of_episode = groups_of(samples.episodes, split)
    groups = int(of_episode.max()) + 1
    if groups < ROLES:
        what = "instructions" if split == "task" else "(task, initial state) pairs"
        raise UserError(f"--split={split} needs at least {ROLES} {what}, the dataset has {groups}")
    of_query = of_episode[samples.episode]
    rows = samples.valid
    positives = np.stack(
        [np.bincount(of_query[rows], one, groups) for one in samples.risk[rows].T], axis=1
    )
    tasks = groups_of(samples.episodes, "task")
    of_task = np.zeros((groups, int(tasks.max()) + 1))
    of_task[of_episode, tasks] = split == "episode"  # else a task is a group
    balanced = np.concatenate([positives, of_task], axis=1)
    sizes = np.bincount(of_query, minlength=groups).astype(float)
    rng = np.random.default_rng(seed)
    part = deal_groups(balanced, sizes, min(RESERVED, groups), rng)
    role = np.select([part == 0, part == 1], [CALIBRATE, THRESHOLD], 0)
    rest = np.flatnonzero(role == 0)
    count = min(count, len(rest))
    role[rest] = deal_groups(balanced[rest], sizes[rest], count, rng)
    return Folds(split, role[of_episode], count)


def deal_groups(
    positives: np.ndarray, sizes: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Part int [groups]: greedy balance of `positives` [groups, kinds] and of `sizes` [groups]."""
    # Rare motions weigh as much as common ones; queries count a little, to balance the rest.
    rarity = positives / np.maximum(positives.sum(0), 1)
    brings = np.concatenate([rarity, sizes[:, None] / sizes.sum()], axis=1)
    shuffled = rng.permutation(len(sizes))
    order = shuffled[np.argsort(-rarity[shuffled].sum(1), kind="stable")]
    capacity = -(-len(sizes) // count)
    load = np.zeros((count, brings.shape[1]))
    filled = np.zeros(count, int)
    fold = np.zeros(len(sizes), int)
    for group in order:
        cost = ((load + brings[group]) ** 2).sum(1) - (load**2).sum(1)
        cost[filled >= capacity] = np.inf
        best = int(np.argmin(cost + rng.random(count) * 1e-9))
        fold[group] = best
        load[best] += brings[group]
        filled[best] += 1
    return fold
