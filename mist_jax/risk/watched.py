"""The queries at which an alarm could be raised, as the rules of `risk.calibration` see them."""

import numpy as np

from mist_jax.risk.calibration.paths import ScorePaths
from mist_jax.risk.features import Samples


def query_number(samples: Samples) -> np.ndarray:
    """int [Q]: the number of each query within its episode."""
    first = np.flatnonzero(np.diff(samples.episode, prepend=-1))
    number = np.cumsum(np.diff(samples.episode, prepend=-1) != 0) - 1
    return np.arange(len(samples)) - first[number]


def watched(samples: Samples) -> np.ndarray:
    """bool [Q]: up to the first event; of the target "all", outside every running one."""
    return samples.label.open


def paths_of(samples: Samples, score: np.ndarray, rows: np.ndarray) -> ScorePaths:
    """The paths of `score` [Q] over `rows` (bool [Q])."""
    return ScorePaths(
        score=np.asarray(score, np.float64)[rows],
        episode=samples.episode[rows],
        query=query_number(samples)[rows],
        clean=samples.clean[samples.episode][rows],
    )
