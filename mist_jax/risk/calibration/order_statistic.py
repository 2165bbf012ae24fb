"""The order statistic on which every conformal rule here rests."""

import math

import numpy as np

NEVER = math.inf


def conformal_quantile(scores: np.ndarray, rate: float) -> float:
    """The ceil((n + 1)(1 - rate))-th smallest of `scores` [n]; inf where there is none so high.

    A new score, exchangeable with these, is larger with probability at most `rate`, and without
    ties at least `rate` - 1 / (n + 1) (Vovk et al. 2005; Lei et al. 2018, theorem 2.2). A rate of 1
    or more always alarms, one of 0 or less never does.
    """
    if rate >= 1:
        return -math.inf
    # Rounding must not add a rank: (n + 1)(1 - rate) of 9 episodes at 10% is 9, not 9.000...2.
    level = math.ceil((len(scores) + 1) * (1 - max(rate, 0.0)) - 1e-9)
    if level > len(scores):
        return NEVER
    return float(np.partition(scores, level - 1)[level - 1])
