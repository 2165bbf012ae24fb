"""A sequential alarm: evidence gathered over queries, its false alarms bounded at any time.

Theorem. Let W_t be any statistic of an episode's scores up to query t, the same function for every
episode, fixed before n clean episodes are drawn, and Q the ceil((n + 1)(1 - rate))-th smallest of
their sup_t W_t. For a further clean episode, exchangeable with these, P(W_t > Q at any t) <= rate;
so whenever one stops, by whatever rule, an alarm has been raised with probability at most `rate`.
Proof: sup_t W_t is a function of the episode, so the n + 1 suprema are exchangeable, and
{W_t > Q for some t} is {sup_t W_t > Q}, of probability at most rate (order_statistic.py). QED

Ville's inequality would give Q = 1 / rate if W were a test martingale. It is not: the conformal
p-values of one episode's queries depend on each other in ways that nobody knows. The order
statistic takes the place of Ville's bound and needs no more than exchangeable episodes.
"""

from dataclasses import dataclass

import numpy as np

from mist_jax.risk.calibration.order_statistic import conformal_quantile
from mist_jax.risk.calibration.paths import ScorePaths
from mist_jax.risk.calibration.split_conformal import HAIR

BETS = (0.2, 0.5, 0.8)  # exponents of the power bets that share the stake

TRACE = 1e-3


@dataclass(frozen=True)
class SequentialAlarm:
    """An alarm at every query at which the wealth (its logarithm) is above `level`."""

    reference: tuple[np.ndarray, ...]  # sorted scores at each query number, of some clean episodes
    level: float

    def raised(self, paths: ScorePaths) -> np.ndarray:
        return wealth(paths, self.reference) > self.level


@dataclass(frozen=True)
class Sequential:
    """Bets against the score being that of a clean episode at this time, and keeps the winnings.

    Half of the clean episodes are what a query's p-value is a rank among, at its own query number.
    Wealth is multiplied by a mean of power bets e p^(e - 1) (Vovk & Wang 2021) and never falls
    below its stake, so that a quiet beginning costs nothing (Page 1954).
    """

    name: str = "sequential"

    def fit(self, clean: ScorePaths, rate: float) -> SequentialAlarm:
        shape, level = clean.halves()
        reference = _reference(shape)
        peaks = level.with_score(wealth(level, reference)).peaks
        return SequentialAlarm(reference, conformal_quantile(peaks, rate) + HAIR)


def wealth(paths: ScorePaths, reference: tuple[np.ndarray, ...]) -> np.ndarray:
    """float [Q]: logarithm of the wealth after each query, and a trace of its score."""
    gain = np.log(np.mean([e * _p_value(paths, reference) ** (e - 1) for e in BETS], axis=0))
    place = np.arange(len(paths)) - paths.starts[paths.number]
    held, result = np.zeros(paths.count), np.zeros(len(paths))
    for step in range(int(place.max(initial=-1)) + 1):  # all episodes at once
        rows = np.flatnonzero(place == step)
        episodes = paths.number[rows]
        held[episodes] = np.maximum(held[episodes], 0.0) + gain[rows]
        result[rows] = held[episodes]
    # p-values are ranks, so that wealths tie; a trace of the score itself tells them apart.
    return result + TRACE * np.tanh(paths.score)


def _p_value(paths: ScorePaths, reference: tuple[np.ndarray, ...]) -> np.ndarray:
    """float [Q] in (0, 1]: share of the reference that scores as high, itself included."""
    result = np.ones(len(paths))
    at = np.minimum(paths.query, len(reference) - 1)
    for number in np.unique(at):
        rows, known = at == number, reference[number]
        as_high = len(known) - np.searchsorted(known, paths.score[rows], side="left")
        result[rows] = (1 + as_high) / (1 + len(known))
    return result


def _reference(paths: ScorePaths) -> tuple[np.ndarray, ...]:
    """At each query number the sorted scores; late ones, which few reach, are taken together."""
    if len(paths) == 0:
        return (np.zeros(0),)
    reach = np.bincount(paths.query)
    enough = max(2, paths.count // 2)
    last = int(np.flatnonzero(reach >= enough).max(initial=0))
    at = np.minimum(paths.query, last)
    return tuple(np.sort(paths.score[at == number]) for number in range(last + 1))
