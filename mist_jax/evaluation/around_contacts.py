"""Risk, and when arms acted, in the queries around a first harmful contact."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mist_jax.evaluation.results import EpisodeResult
from mist_jax.evaluation.run_setup import RunSetup
from mist_jax.record.episode import UNSTEERED

BEFORE, AFTER = 8, 3  # queries around the one in which the contact begins


def around_contacts(results: Sequence[EpisodeResult], arms: Sequence[str]) -> dict[str, Any]:
    """Means over episodes, by the number of queries from the one in which a contact begins (0).

    Returns:
        threshold: the risk from which every motion alarms, None where they differ or none does.
        own: a row for each arm and query, around the arm's own first harmful contact: `episodes`,
            `risk` (mean of the largest risk of any motion that can alarm, None without a risk
            head) and `acted` (share of the episodes).
        unsteered: likewise around the first harmful contact of the unsteered episode of the pair,
            with `hit`, the share that has hit something by the end of that query, of all of them:
            also of those that ended before it.
        episodes: of each arm, how many have a contact of their own; scenes: how many pairs the
            unsteered episodes give.
    """
    ended = [result for result in results if not result.crashed and result.queries.step]
    found = {
        result.pair: _query_of_contact(result)
        for result in ended
        if result.arm == UNSTEERED and result.collided
    }
    own, paired, counts = [], [], {}
    for arm in arms:
        episodes = [result for result in ended if result.arm == arm]
        hit = [(result, _query_of_contact(result)) for result in episodes if result.collided]
        counts[arm] = len(hit)
        same = [(result, found[result.pair]) for result in episodes if result.pair in found]
        for offset in range(-BEFORE, AFTER + 1):
            own += _row(arm, offset, hit, paired=False)
            paired += _row(arm, offset, same, paired=True)
    setup = results[0].setup
    return {
        "threshold": common_threshold(setup),
        "own": own,
        "unsteered": paired,
        "episodes": counts,
        "scenes": len(found),
    }


def largest_risk(result: EpisodeResult) -> np.ndarray:
    """Float [Q]: of the motions that can alarm (of all, where none can); nan without a head."""
    if not result.queries.risk:
        return np.full(len(result.queries.step), np.nan)
    can = np.isfinite(result.setup.alarm_threshold)
    risk = np.asarray(result.queries.risk, float)
    return risk[:, can if can.any() else slice(None)].max(axis=1)


def common_threshold(setup: RunSetup) -> float | None:
    """The risk from which every motion that can alarm does; None where they differ or none can."""
    levels = {level for level in setup.threshold if level is not None}
    return levels.pop() if len(levels) == 1 else None


def _query_of_contact(result: EpisodeResult) -> int:
    """Index of the query whose chunk is executed at the first harmful contact."""
    assert result.first_harmful_step is not None
    return _query_at(result, result.first_harmful_step)


def _query_at(result: EpisodeResult, step: int) -> int:
    return max(int(np.searchsorted(result.queries.step, step, side="right")) - 1, 0)


def _row(
    arm: str, offset: int, around: Sequence[tuple[EpisodeResult, int]], *, paired: bool
) -> list[dict[str, Any]]:
    """One row; none where no episode has such a query."""
    asked = [(r, at + offset) for r, at in around if 0 <= at + offset < len(r.queries.step)]
    if not asked:
        return []
    risk = [float(largest_risk(result)[query]) for result, query in asked]
    known = [value for value in risk if np.isfinite(value)]
    row = {
        "arm": arm,
        "unsteered": arm == UNSTEERED,
        "query": offset,
        "episodes": len(asked),
        "risk": float(np.mean(known)) if known else None,
        "acted": float(np.mean([query in result.queries.acted for result, query in asked])),
    }
    if paired:
        by_then = [r.collided and _query_of_contact(r) <= at + offset for r, at in around]
        row["hit"] = float(np.mean(by_then))
    return [row]
