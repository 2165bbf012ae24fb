"""Ridge logistic regression of branch outcomes: within forks for what an offset does, across them
for how likely the outcome is at all.

All branches of a fork share its state, so whatever makes the outcome likely there, known or not,
cancels where branches of one fork are compared: the effect of the offsets is fitted to the
conditional likelihood (Cox 1970; Breslow & Day 1980, ch. 7), exactly, by the subsets of a fork's
branches that have as many positives. Forks whose branches all end alike say nothing about it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from scipy.optimize import minimize

from mist_jax.risk.calibration.platt import sigmoid

SLIGHT = 1.0  # ridge of the offsets' average effect and of the factor's; units: one row each
CONVERGED: Mapping[str, float] = {"gtol": 1e-5, "ftol": 1e-11, "maxiter": 500}


@dataclass(frozen=True)
class OutcomeFit:
    """logit P(outcome | z, terms) = bias + main . z + terms . (offset + z . interaction).

    float64: `main` [k], `offset` [terms], `interaction` [k, terms].
    """

    bias: float
    main: np.ndarray
    offset: np.ndarray
    interaction: np.ndarray

    def logit(self, z: np.ndarray, terms: np.ndarray) -> np.ndarray:
        """Of every offset at every fork, [forks, offsets], from z [forks, k] and terms
        [offsets, terms].
        """
        effect = self.offset + z @ self.interaction
        return (self.bias + z @ self.main)[:, None] + effect @ terms.T

    def probability(self, z: np.ndarray, terms: np.ndarray) -> np.ndarray:
        """[forks, offsets]."""
        return sigmoid(self.logit(z, terms))


def fit_within(
    z: np.ndarray, terms: np.ndarray, positive: np.ndarray, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """The offsets' effect: `offset` [terms] and `interaction` [k, terms].

    Minimises minus the conditional log-likelihood of `positive` (bool [forks, offsets]) plus
    SLIGHT / 2 |offset|^2 + ridge / 2 |interaction|^2. A ridge of inf leaves no interaction.
    """
    if np.isinf(ridge):
        z = z[:, :0]
    design = np.concatenate([np.ones((len(z), 1)), z], axis=1)
    penalty = np.concatenate([[SLIGHT], np.full(z.shape[1], ridge)])[:, None]
    label = positive.astype(np.float64)
    groups = [(count, design[rows], label[rows]) for count, rows in _by_count(positive)]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(design.shape[1], terms.shape[1])
        total = 0.5 * float((penalty * weights**2).sum())
        slope = penalty * weights
        for count, of_forks, ends in groups:
            likelihood, by_effect = _conditional(of_forks @ weights, terms, ends, count)
            total -= likelihood.sum()
            slope = slope - of_forks.T @ by_effect
        return total, slope.ravel()

    start = np.zeros(design.shape[1] * terms.shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=dict(CONVERGED)).x
    weights = found.reshape(design.shape[1], terms.shape[1])
    return weights[0], weights[1:]


def within_likelihood(
    z: np.ndarray,
    terms: np.ndarray,
    positive: np.ndarray,
    effect: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Conditional log-likelihood of each fork, [forks]; 0 where all branches end alike."""
    offset, interaction = effect
    of_fork = offset + z[:, : len(interaction)] @ interaction
    said, label = np.zeros(len(z)), positive.astype(np.float64)
    for count, rows in _by_count(positive):
        said[rows] = _conditional(of_fork[rows], terms, label[rows], count)[0]
    return said


def fit_across(
    z: np.ndarray,
    terms: np.ndarray,
    positive: np.ndarray,
    effect: tuple[np.ndarray, np.ndarray],
    ridge: float,
) -> OutcomeFit:
    """The rest, by ordinary logistic regression of all branches: bias, main effect and a factor.

    The effect found within forks is that at a given fork; over forks that the features cannot tell
    apart it is smaller (Neuhaus & Jewell 1993), so that all of it is scaled by one factor of at
    least 0. Penalties: ridge / 2 |main|^2 + SLIGHT / 2 (factor - 1)^2, and none on the bias.
    """
    offset, interaction = effect
    padded = np.zeros((z.shape[1], terms.shape[1]))
    padded[: len(interaction)] = interaction
    moved = (offset + z @ padded) @ terms.T  # [forks, offsets]
    label = positive.astype(np.float64)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        bias, factor, main = flat[0], flat[1], flat[2:]
        score = (bias + z @ main)[:, None] + factor * moved
        wrong = sigmoid(score) - label
        total = (np.logaddexp(0, score) - label * score).sum()
        total += 0.5 * ridge * main @ main + 0.5 * SLIGHT * (factor - 1) ** 2
        slope = [wrong.sum(), (wrong * moved).sum() + SLIGHT * (factor - 1)]
        return total, np.concatenate([slope, z.T @ wrong.sum(axis=1) + ridge * main])

    start = np.zeros(2 + z.shape[1])
    start[1] = 1.0
    bounds = [(None, None), (0.0, None), *[(None, None)] * z.shape[1]]
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=dict(CONVERGED)
    ).x
    return OutcomeFit(float(found[0]), found[2:], found[1] * offset, found[1] * padded)


def _by_count(positive: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Forks (rows) by their number of positives, of those whose branches differ."""
    counts = positive.sum(axis=1)
    return [
        (m, np.flatnonzero(counts == m)) for m in np.unique(counts) if 0 < m < positive.shape[1]
    ]


def _conditional(
    effect: np.ndarray, terms: np.ndarray, positive: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood [forks] and its slope by the forks' effects [forks, terms].

    `positive` is 1 or 0; all forks have `count` of them among their branches.
    """
    sums = _subsets(len(terms), count) @ terms  # [subsets, terms]
    score = effect @ sums.T
    most = score.max(axis=1, keepdims=True)
    share = np.exp(score - most)
    total = share.sum(axis=1, keepdims=True)
    seen = positive @ terms
    likelihood = (effect * seen).sum(axis=1) - (most + np.log(total))[:, 0]
    return likelihood, seen - share @ sums / total


@lru_cache(maxsize=64)
def _subsets(size: int, count: int) -> np.ndarray:
    """Every choice of `count` out of `size`, as rows of 0 and 1."""
    chosen = list(combinations(range(size), count))
    member = np.zeros((len(chosen), size))
    for row, places in enumerate(chosen):
        member[row, list(places)] = 1
    return member
