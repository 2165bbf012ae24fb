"""The probability that a study shows what it looks for, exact for one pair of episodes a scene.

Pairs are won, lost or equal with fixed rates (a trinomial); the tests are those that the report
makes: `sign_flip_p`, which is then McNemar's exact test, and `noninferiority_p`.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import stats

from mist_jax.evaluation.equivalence import largest_tail, score_table


def superiority_power(n: int, won: float, lost: float, level: float) -> float:
    """Probability that more pairs are won than lost and the two-sided exact p is below `level`.

    Args:
        n: pairs, each of another scene.
        won: rate of pairs that the arm wins; `lost` likewise. Together 1 at most.
        level: of the test.
    """
    discordant = np.arange(n + 1)
    # The least number won that shows it, of so many discordant pairs: P(W >= w) < level / 2.
    least = stats.binom.isf(level / 2, discordant, 0.5).astype(int) + 1
    at_edge = 2 * stats.binom.sf(least - 1, discordant, 0.5)
    least += at_edge >= level  # isf is of ">", the test of "<"
    share = won / (won + lost) if won + lost > 0 else 0.0
    shown = stats.binom.sf(least - 1, discordant, share)
    return float(np.dot(stats.binom.pmf(discordant, n, won + lost), shown))


def noninferiority_power(n: int, won: float, lost: float, margin: float, level: float) -> float:
    """Probability that `noninferiority_p` of `n` pairs is below `level`; arguments as above."""
    most = _most_lost(n, margin, level)
    count = np.arange(n + 1)  # of pairs that are won
    rate = min(lost / (1 - won), 1.0) if won < 1 else 0.0
    shown = np.where(most < 0, 0.0, stats.binom.cdf(most, n - count, rate))
    return float(np.dot(stats.binom.pmf(count, n, won), shown))


@lru_cache(maxsize=256)
def _most_lost(n: int, margin: float, level: float) -> np.ndarray:
    """[n + 1]: of so many pairs won, how many may be lost for no inferiority to be shown; -1 none.

    The p-value is a growing function of the score: the score at which it passes the level is
    searched for once.
    """
    scores = score_table(n, margin)
    seen = np.unique(scores[np.isfinite(scores)])
    low, high = -1, len(seen)  # p is below the level up to `low`, and not from `high` on
    while high - low > 1:
        middle = (low + high) // 2
        if largest_tail(float(seen[middle]), scores, margin) < level:
            low = middle
        else:
            high = middle
    if low < 0:
        return np.full(n + 1, -1)
    return (scores <= seen[low] + 1e-9).sum(axis=1) - 1


def episodes_needed(
    power: Callable[[int], float], target: float, *, step: int = 1, most: int = 20_000
) -> int | None:
    """A number of pairs, a multiple of `step`, at which `power` reaches `target`.

    Of a test of counts it does not grow steadily: the number before it lacks the power, one far
    below may have it by luck. None where `most` pairs do not reach it.
    """
    high = step
    while power(high) < target:
        if high >= most:
            return None
        high = min(2 * high, most // step * step)
    low = 0
    while high - low > step:
        middle = (low + high) // (2 * step) * step
        low, high = (low, middle) if power(middle) >= target else (middle, high)
    return high
