"""SAFE's networks (Gu et al., arXiv 2506.09937) as detectors of failure.

They read the last stored layer, mean over the action tokens. Higher means that the episode is more
likely to fail. Episodes that crashed are not learnt from. Nothing is drawn but initial weights,
always with the same seed.
"""

from dataclasses import dataclass

import numpy as np

from mist_jax.risk.detector import Claim, Fit, Member, Progress, activation_at
from mist_jax.risk.features import Samples
from mist_jax.risk.perceptron.training import normaliser
from mist_jax.risk.plan import Plan
from mist_jax.risk.published.networks import (
    SAFE_LSTM,
    SAFE_MLP,
    Network,
    Sequences,
    fit_network,
    network_logits,
)
from mist_jax.risk.published.outcomes import both_outcomes, episodes_of


@dataclass(frozen=True)
class SafeNetwork:
    """A network over the queries of an episode; `summed` scores add up from its start."""

    name: str
    learner: str
    network: Network
    summed: bool = False
    claims: Claim = "failure"

    def epochs(self, plan: Plan) -> int:
        return self.network.epochs

    def fit(self, samples: Samples, plan: Plan, progress: Progress) -> Fit:
        """Members of the folds whose training episodes both fail and succeed."""
        train, validation = episodes_of(samples, plan.folds)
        fits = both_outcomes(samples, train)
        members: list[Member | None] = [None] * plan.folds.count
        if len(fits) == 0:
            return Fit(members)
        layer = int(np.argmax(samples.layers))
        activation = samples.activation[:, layer]
        at, here = _padding(samples)
        x = np.zeros((len(fits), *here.shape, activation.shape[1]), np.float32)
        normalisers = [normaliser(activation[train[k][samples.episode]]) for k in fits]
        for padded, (mean, scale) in zip(x, normalisers, strict=True):
            padded[at] = (activation - mean) / scale
        sequences = Sequences(x, here, samples.failed, train[fits], validation[fits])
        weights = fit_network(self.network, sequences, 0, progress)
        for number, k in enumerate(fits):
            mean, scale = normalisers[number]
            facts = {"mean": mean, "scale": scale, "layer": np.int32(samples.layers[layer])}
            members[k] = {**facts, **{name: leaf[number] for name, leaf in weights.items()}}
        return Fit(members)

    def score(self, member: Member, samples: Samples) -> np.ndarray:
        """Scores [Q], each in the light of the queries before it where the network has a memory."""
        weights = dict(member)
        mean, scale, layer = (weights.pop(name) for name in ("mean", "scale", "layer"))
        activation = activation_at(samples, int(layer), self.name)
        at, here = _padding(samples)
        x = np.zeros((*here.shape, activation.shape[1]), np.float32)
        x[at] = (activation - mean) / scale
        each = _sigmoid(network_logits(self.network, weights, x))
        return (np.cumsum(each, axis=1) if self.summed else each)[at]


def _padding(samples: Samples) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Where each query stands in padded episodes (row [Q], column [Q]), and bool [B, longest]."""
    position = np.concatenate([np.arange(n) for n in np.bincount(samples.episode)])
    here = np.zeros((len(samples.episodes), position.max() + 1), bool)
    here[samples.episode, position] = True
    return (samples.episode, position), here


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))


SAFE_DETECTORS = (
    SafeNetwork("SAFE-MLP", "SAFE-MLP", SAFE_MLP, summed=True),
    # The same network; a running sum is partly a clock.
    SafeNetwork("SAFE-MLP per query", "SAFE-MLP", SAFE_MLP),
    SafeNetwork("SAFE-LSTM", "SAFE-LSTM", SAFE_LSTM),
)
