"""Endpoints in a stated order: a later one counts only where all before it are shown."""

from collections.abc import Sequence

import numpy as np


def gatekept(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of tests in a fixed sequence: the largest so far.

    Each is tested at the full level; all errors together stay within it, because the first true
    null hypothesis of the sequence must be rejected before any other can be. Maurer, Hothorn and
    Lehmacher, in Biometrie in der chemisch-pharmazeutischen Industrie 6 (1995); a closed test
    (Marcus, Peritz and Gabriel 1976) that gives all weight to the first hypothesis of every
    intersection.
    """
    return np.maximum.accumulate(np.asarray(p_values, float)).tolist()
