"""Dose: how far an arm changed the executed action, beside what it wanted.

Every comparison of arms rests on it: a push that does less is no control of one that does more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mist_jax.action_units import UNIT
from mist_jax.evaluation.results import EpisodeResult

_POSE = UNIT[:6]  # the gripper has no length


@dataclass(frozen=True)
class Dose:
    """Means over the queries at which an arm acted, or its push wanted something.

    Attributes:
        queries: how many.
        wanted_metres: length of the wanted translation over a chunk; None where nothing was wanted
            (brakes, directions).
        wanted_radians: the same of the rotation.
        realised_metres: length of the realised translation; None where there is no query.
        realised_radians: the same of the rotation.
        ratio: mean realised over mean wanted length, of the pose in action units.
        along: how much of what was wanted came about: least-squares slope of realised on wanted.
        cosine: mean cosine of wanted and realised, where neither is zero.
    """

    queries: int = 0
    wanted_metres: float | None = None
    wanted_radians: float | None = None
    realised_metres: float | None = None
    realised_radians: float | None = None
    ratio: float | None = None
    along: float | None = None
    cosine: float | None = None


def dose_of(results: Sequence[EpisodeResult]) -> Dose:
    """The dose of the episodes of one arm that did not crash."""
    traces = [result.queries for result in results if not result.crashed]
    wanted = np.array([row for trace in traces for row in trace.wanted or ()])
    realised = np.array([row for trace in traces for row in trace.realised or ()])
    if not len(realised):
        return Dose()
    wanted, realised = wanted[:, :6], realised[:, :6]
    found = {
        "queries": len(realised),
        "realised_metres": _mean_length(realised[:, :3]),
        "realised_radians": _mean_length(realised[:, 3:]),
    }
    asked, done = wanted / _POSE, realised / _POSE
    if not asked.any():
        return Dose(**found)
    lengths = np.linalg.norm(asked, axis=1), np.linalg.norm(done, axis=1)
    product, dot = lengths[0] * lengths[1], (asked * done).sum(axis=1)
    return Dose(
        **found,
        wanted_metres=_mean_length(wanted[:, :3]),
        wanted_radians=_mean_length(wanted[:, 3:]),
        ratio=float(lengths[1].mean() / lengths[0].mean()),
        along=float(dot.sum() / (lengths[0] ** 2).sum()),
        cosine=float((dot[product > 0] / product[product > 0]).mean()) if product.any() else None,
    )


def _mean_length(vectors: np.ndarray) -> float:
    return float(np.linalg.norm(vectors, axis=1).mean())
