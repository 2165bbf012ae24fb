"""How often it happened so far: event rates per task, smooth in the step. Nothing is optimised.

Of a task that was never trained on, the rates of all tasks together are said: the clock is then all
that is known.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import logit

from mist_jax.risk.baselines.tasks import place_of, task_codes
from mist_jax.risk.detector import Claim, Fit, Member, Progress
from mist_jax.risk.features import Samples
from mist_jax.risk.judging import evidence
from mist_jax.risk.plan import Plan

BIN = 4  # control steps; a chunk is twice as long
WIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0)  # bins: standard deviation of the kernel over the step
DRAWS = (1.0, 4.0, 16.0, 64.0, 256.0)  # queries that a task's own have to outweigh
LEAST = 1e-5  # no rate is said to be lower, or higher than one less so much


@dataclass(frozen=True)
class EventRates:
    """Rates [task, step, M] of an event within the horizon, among training queries.

    A task's rate at a step is that of its queries near it (a Gaussian kernel over the step; without
    `clock` all of its queries count alike), drawn towards that of all tasks at that step by so many
    queries; that one is drawn towards the overall rate in the same way. How wide the kernel is and
    how strong the draw are chosen per signed motion, by the cross-entropy on the select rows.
    """

    name: str
    clock: bool
    claims: Claim = "contact"

    @property
    def learner(self) -> str:
        return self.name

    def epochs(self, plan: Plan) -> int:
        return 0

    def fit(self, samples: Samples, plan: Plan, progress: Progress) -> Fit:
        """Rates of each fold's training queries."""
        codes = task_codes(samples)
        known = np.unique(codes)
        task = place_of(codes, known)
        bins = int(samples.step.max()) // BIN + 1 if self.clock else 1
        at = _bin(samples, bins)
        label = samples.risk & plan.usable
        members: list[Member | None] = []
        for k in range(plan.folds.count):
            rows = plan.folds.labelled(k, samples)
            train, select = (part & samples.valid for part in (rows.train, rows.select))
            shape = (len(known), bins)
            asked = _counted(shape, task[train], at[train], np.ones((int(train.sum()), 1)))
            came = _counted(shape, task[train], at[train], label[train])
            tried = np.stack(
                [
                    smoothed_rates(asked, came, width, draw)
                    for width, draw in product(WIDTHS if self.clock else (np.inf,), DRAWS)
                ]
            )  # [trial, task + 1, step, M]
            said = tried[:, task[select], at[select]]
            loss = -np.log(np.where(label[select], said, 1 - said)).mean(axis=1)  # [trial, M]
            best = np.argmin(loss, axis=0) if select.any() else np.zeros(label.shape[1], int)
            rate = np.stack([tried[trial, ..., m] for m, trial in enumerate(best)], axis=-1)
            members.append({"tasks": known, "log_odds": logit(rate).astype(np.float32)})
        return Fit(members)

    def score(self, member: Member, samples: Samples) -> np.ndarray:
        """Log-odds [Q, M]; after the last step that was trained on, those of that step."""
        odds = np.asarray(member["log_odds"])
        task = place_of(task_codes(samples), np.asarray(member["tasks"]))
        return odds[task, _bin(samples, odds.shape[1])]


def smoothed_rates(asked: np.ndarray, came: np.ndarray, width: float, draw: float) -> np.ndarray:
    """Rates [task + 1, step, M] from counts of queries [task, step, 1] and events [task, step, M].

    The last row is of all tasks together. `width` is in bins; inf makes all steps alike.
    """
    apart = np.subtract.outer(np.arange(asked.shape[1]), np.arange(asked.shape[1]))
    kernel = np.exp(-0.5 * (apart / width) ** 2)
    near_asked, near_came = (np.einsum("sz,tzm->tsm", kernel, part) for part in (asked, came))
    overall = (came.sum((0, 1)) + 0.5) / (asked.sum() + 1)
    together = (near_came.sum(0) + draw * overall) / (near_asked.sum(0) + draw)
    rates = (near_came + draw * together) / (near_asked + draw)
    return np.clip(np.concatenate([rates, together[None]]), LEAST, 1 - LEAST)


def _bin(samples: Samples, bins: int) -> np.ndarray:
    return np.minimum(samples.step // BIN, bins - 1)


def _counted(
    shape: tuple[int, int], task: np.ndarray, at: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Sums [task, step, ...] of `values` [n, ...]."""
    total = np.zeros((*shape, values.shape[1]))
    np.add.at(total, (task, at), values)
    return total


TASK = EventRates("task", clock=False)
TASK_CLOCK = EventRates(evidence.TASK_CLOCK, clock=True)
