"""Who is trained on and who is tested: folds of whole scenes or whole tasks, never of steps."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from mist_jax.errors import UserError
from mist_jax.risk.features import EpisodeFacts, Samples

Split = Literal["episode", "task"]
SPLITS: tuple[str, ...] = get_args(Split)
MIN_FOLDS = 3  # one to test, one to choose and calibrate on, one to train on


@dataclass(frozen=True)
class Rows:
    """Which rows one member trains on and is stopped by; no validation rows: it runs to the end."""

    train: np.ndarray  # bool [Q]
    validation: np.ndarray  # bool [Q]


@dataclass(frozen=True)
class Folds:
    """Cross-validation: fold k is tested once, the next one chooses, the others train.

    Episodes of one (suite, task, initial state) share a fold; with `split` "task" all episodes of a
    task do.
    """

    split: str
    fold: np.ndarray  # int [episodes]
    count: int

    def test(self, k: int, samples: Samples) -> np.ndarray:
        """bool [Q]: the queries that fold `k` tests."""
        return (self.fold == k)[samples.episode]

    def validation(self, k: int, samples: Samples) -> np.ndarray:
        """bool [Q]: the queries that stop, choose and calibrate the heads tested on fold `k`."""
        return (self.fold == (k + 1) % self.count)[samples.episode]

    def train(self, k: int, samples: Samples) -> np.ndarray:
        """bool [Q]: the queries that the heads tested on fold `k` are fitted to."""
        return ~(self.test(k, samples) | self.validation(k, samples))

    def labelled(self, k: int, samples: Samples) -> Rows:
        """The queries with a valid label that the members tested on fold `k` learn from."""
        return Rows(
            self.train(k, samples) & samples.valid, self.validation(k, samples) & samples.valid
        )


def group_of(facts: EpisodeFacts, split: str) -> tuple[str | int, ...]:
    """What must not be divided over folds."""
    return facts.task if split == "task" else facts.scene


def make_folds(samples: Samples, split: str, count: int, seed: int) -> Folds:
    """Divides the groups over `count` folds (fewer where there are fewer groups).

    Groups are dealt in random order, those with most positive labels first, each to the fold that
    has least of what it brings, so that folds are alike in positives and in size.

    Raises:
        UserError: fewer than three groups.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; there are {', '.join(SPLITS)}")
    groups = sorted({group_of(facts, split) for facts in samples.episodes}, key=repr)
    if len(groups) < MIN_FOLDS:
        what = "tasks" if split == "task" else "(task, initial state) pairs"
        raise UserError(
            f"--split={split} needs at least {MIN_FOLDS} {what}, the dataset has {len(groups)}"
        )
    count = min(count, len(groups))
    number = {group: index for index, group in enumerate(groups)}
    of_episode = np.asarray([number[group_of(facts, split)] for facts in samples.episodes])
    of_query = of_episode[samples.episode]
    positives = np.zeros((len(groups), samples.risk.shape[1]))
    np.add.at(positives, of_query[samples.valid], samples.risk[samples.valid])
    sizes = np.bincount(of_query, minlength=len(groups)).astype(float)
    assigned = deal_groups(positives, sizes, count, np.random.default_rng(seed))
    return Folds(split, assigned[of_episode], count)


def deal_groups(
    positives: np.ndarray, sizes: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Fold int [groups]: greedy balance of `positives` [groups, kinds] and of `sizes` [groups]."""
    # Rare dimensions weigh as much as common ones; queries count a little, to balance the rest.
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
