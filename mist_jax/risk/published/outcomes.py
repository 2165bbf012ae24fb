"""What failure detectors learn from: whole episodes that ended, by whether they failed."""

import numpy as np

from mist_jax.risk.detector import Member
from mist_jax.risk.features import Samples
from mist_jax.risk.perceptron.training import normaliser
from mist_jax.risk.splits import Folds


def episodes_of(samples: Samples, folds: Folds) -> tuple[np.ndarray, np.ndarray]:
    """Episodes that each fold's member trains on and is stopped by, bool [K, episodes] each."""
    assigned = np.arange(folds.count)[:, None]
    test = folds.fold == assigned
    validation = folds.fold == (assigned + 1) % folds.count
    return samples.ended & ~test & ~validation, samples.ended & validation


def both_outcomes(samples: Samples, train: np.ndarray) -> np.ndarray:
    """The folds whose training episodes (bool [K, episodes]) both fail and succeed."""
    failed = samples.failed
    return np.flatnonzero((train & failed).any(axis=1) & (train & ~failed).any(axis=1))


def outcome_queries(samples: Samples, train: np.ndarray, layer: int) -> Member:
    """The stored `layer`'s queries of the episodes `train`, normalised, by their outcome."""
    activation = samples.activation[:, samples.layers.index(layer)]
    known, lost = train[samples.episode], samples.failed[samples.episode]
    mean, scale = normaliser(activation[known])
    normal = (activation - mean) / scale
    return {
        "mean": mean,
        "scale": scale,
        "layer": np.int32(layer),
        "success": normal[known & ~lost],
        "failure": normal[known & lost],
    }
