"""The training queries of one fold, on the two sides that a detector tells apart."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.risk.detector import Claim
from mist_jax.risk.features import Samples
from mist_jax.risk.splits import Folds


@dataclass(frozen=True)
class Sides:
    """Queries before nothing (`quiet`) and before harm, standardised on both together.

    `features` is [Q, D] of all queries, `quiet` and `harm` are rows of it, int [n] each. Rows are
    standardised only when asked for: a study of wide activations holds one fold's at a time.
    """

    features: np.ndarray
    quiet: np.ndarray
    harm: np.ndarray

    @cached_property
    def normaliser(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (at least 1e-6) of the training rows, float32 [D] each."""
        known = self.features[np.union1d(self.quiet, self.harm)]
        scale = np.maximum(known.std(axis=0, dtype=np.float64), 1e-6)
        return known.mean(axis=0, dtype=np.float64).astype(np.float32), scale.astype(np.float32)

    def rows(self, harm: bool, most: int | None = None) -> np.ndarray:
        """Standardised rows float32 [n, D] of one side; at most `most`, always the same draw."""
        rows = self.harm if harm else self.quiet
        if most is not None and len(rows) > most:
            rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
        return standardised(self.features[rows], *self.normaliser)


def standardised(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """`features` [Q, D] as float32 of mean 0 and deviation 1, by a `Sides.normaliser`."""
    return ((features - mean) / scale).astype(np.float32)


def sides_of(
    samples: Samples, folds: Folds, k: int, claims: Claim, features: np.ndarray
) -> Sides | None:
    """What the member that fold `k` tests learns from.

    "failure", as published: the queries of successful and of failed training episodes, those that
    crashed left out; None where there is one outcome alone. "contact": the training queries whose
    horizon is known, by whether any event begins within it; where there is one kind alone it stands
    on both sides, so that nothing is told apart.
    """
    if claims == "failure":
        known = folds.train(k, samples) & samples.ended[samples.episode]
        harm = samples.failed[samples.episode]
    else:
        known = folds.labelled(k, samples).train & samples.valid
        harm = samples.label.any_risk
    quiet, harmful = np.flatnonzero(known & ~harm), np.flatnonzero(known & harm)
    if len(quiet) and len(harmful):
        return Sides(features, quiet, harmful)
    if claims == "failure" or len(quiet) + len(harmful) == 0:
        return None
    either = quiet if len(quiet) else harmful
    return Sides(features, either, either)


def as_claimed(score: np.ndarray, claims: Claim) -> np.ndarray:
    """A score [Q] as what a detector of that claim gives: of contacts it speaks for every motion,
    [Q, M].
    """
    if claims == "failure":
        return score
    return np.repeat(score[:, None], len(SIGNED_MOTIONS), axis=1)
