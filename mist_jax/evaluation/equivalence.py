"""Whether two arms' rates are equal, or one no worse, to within a margin stated in advance.

Tests of a difference of paired proportions by Tango's (1998) score statistic. Its normal
approximation is too sure of itself where outcomes are rare (up to 7% false equivalence where 5%
were asked), so the p-value is exact: the probability of a statistic as extreme under the margin,
at the nuisance parameter that makes it largest (Sidik 2003; the discordant pairs are trinomial).
"""

import numpy as np
from scipy import stats

NUISANCE = 200  # rates of discordant pairs at which the exact probability is taken


def equivalence_p(differences: np.ndarray, cluster: np.ndarray, margin: float) -> float:
    """P-value of two one-sided tests that a difference of rates lies within +-`margin`.

    `differences` [N] are -1, 0 or 1 for each pair; `cluster` [N] says which pairs belong together.
    """
    return max(
        noninferiority_p(differences, cluster, margin),
        noninferiority_p(-differences, cluster, margin),
    )


def noninferiority_p(differences: np.ndarray, cluster: np.ndarray, margin: float) -> float:
    """P-value of the one-sided test that a difference of rates is above -`margin`.

    A cluster of several pairs counts as one, with the shares of its pairs that are won and lost:
    exact where its pairs are all alike, conservative where they are not, and without an estimate of
    their correlation, which rare outcomes would not give.

    Args:
        differences: [N], 1 where a pair is won, -1 where it is lost, else 0.
        cluster: [N], equal for pairs that are not independent.
        margin: between 0 and 1; at either end nothing can be shown, or nothing must.
    """
    _, number = np.unique(cluster, return_inverse=True)
    size = np.bincount(number)
    n = len(size)
    won = float((np.bincount(number, differences > 0) / size).sum())
    lost = float((np.bincount(number, differences < 0) / size).sum())
    if margin <= 0 or n == 0:
        return 1.0
    if margin >= 1:
        return 0.0 if lost < n else 1.0
    # Seen from the other side: were `lost` less `won` at the margin, would so little be lost?
    observed = float(score(np.asarray(lost), np.asarray(won), n, margin))
    return largest_tail(observed, score_table(n, margin), margin)


def score(more: np.ndarray, less: np.ndarray, n: int, difference: float) -> np.ndarray:
    """Tango's statistic of `more` and `less` discordant pairs of `n`, which may be fractions.

    Under the hypothesis that their rates differ by `difference` (in (-1, 1)) about standard normal;
    the rate of `less` is estimated under it. Tango, Statistics in Medicine 17 (1998) 891.
    """
    a = 2.0 * n
    b = -more - less + (2 * n - more + less) * difference
    c = -less * difference * (1 - difference)
    rate = (np.sqrt(np.maximum(b**2 - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * rate + difference * (1 - difference))
    gap = more - less - n * difference
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gap == 0, 0.0, gap / np.sqrt(np.maximum(variance, 0.0)))


def score_table(n: int, difference: float) -> np.ndarray:
    """[n + 1, n + 1]: the score of each count of `less` and of `more`; inf where there is none."""
    count = np.arange(n + 1)
    scores = score(count[None, :].astype(float), count[:, None].astype(float), n, difference)
    return np.where(count[None, :] + count[:, None] <= n, scores, np.inf)


def largest_tail(observed: float, scores: np.ndarray, margin: float) -> float:
    """Largest probability, over rates of `less`, of a score that is not above `observed`.

    For each count of `less` the scores grow with the count of `more`: a tail is a binomial one.
    `scores` are `score_table(n, margin)`.
    """
    count = np.arange(len(scores))
    n = len(scores) - 1
    most = (scores <= observed + 1e-9).sum(axis=1) - 1  # of `more`; -1: none
    # Rare outcomes decide: more of the rates near zero.
    rates = (1 - margin) / 2 * np.linspace(0.0, 1.0, NUISANCE)[:, None] ** 2
    tail = stats.binom.cdf(most, n - count, np.minimum((rates + margin) / (1 - rates), 1.0))
    largest = (stats.binom.pmf(count, n, rates) * np.where(most < 0, 0.0, tail)).sum(axis=1).max()
    return float(min(largest, 1.0))
