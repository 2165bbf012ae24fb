"""SAFE's networks (Gu et al., arXiv 2506.09937) as detectors of failure, and their twins.

They read the last stored layer, mean over the action tokens, and are trained for as long as SAFE
trains (`Plan.safe_epochs`). Failure detectors learn the outcome of whole episodes; those that
crashed are not learnt from. A twin on contacts learns, query by query, whether any event begins
within the horizon: by the cross-entropy that SAFE's LSTM learns by, without a running sum, with
classes weighed by their frequency in the same way, on queries whose label is known.
"""

from dataclasses import dataclass

import numpy as np

from mist_jax.risk.detector import Claim, Fit, Member, Progress, activation_at
from mist_jax.risk.features import Samples
from mist_jax.risk.plan import Plan
from mist_jax.risk.published.contrast import ON_CONTACTS
from mist_jax.risk.published.networks import (
    LSTM,
    MLP,
    Loss,
    Network,
    Sequences,
    entropy_loss,
    fit_network,
    network_logits,
    summed_loss,
)
from mist_jax.risk.published.sides import Sides, as_claimed, sides_of, standardised


@dataclass(frozen=True)
class SafeNetwork:
    """A network over the queries of an episode; `summed` scores add up from its start."""

    name: str
    learner: str
    network: Network
    loss: Loss = entropy_loss
    summed: bool = False
    claims: Claim = "failure"

    def epochs(self, plan: Plan) -> int:
        return plan.safe_epochs

    def fit(self, samples: Samples, plan: Plan, progress: Progress) -> Fit:
        """Members of the folds whose training episodes have something to tell apart."""
        count = plan.folds.count
        layer = max(samples.layers)
        activation = activation_at(samples, layer, self.name)
        found = {k: sides_of(samples, plan.folds, k, self.claims, activation) for k in range(count)}
        sides = {k: side for k, side in found.items() if side is not None}
        members: list[Member | None] = [None] * count
        if not sides:
            return Fit(members)
        sequences = self._sequences(samples, list(sides.values()))
        weights = fit_network(
            self.network, self.loss, sequences, plan.safe_epochs, progress=progress
        )
        for number, k in enumerate(sides):
            mean, scale = sequences.mean[number], sequences.scale[number]
            learnt = {name: leaf[number] for name, leaf in weights.items()}
            members[k] = {**learnt, "mean": mean, "scale": scale, "layer": np.int32(layer)}
        return Fit(members)

    def score(self, member: Member, samples: Samples) -> np.ndarray:
        """Scores [Q] or, of contacts, logits [Q, M], each in the light of the queries before it
        where the network has a memory.
        """
        weights = dict(member)
        mean, scale, layer = (np.asarray(weights.pop(name)) for name in ("mean", "scale", "layer"))
        activation = activation_at(samples, int(layer), self.name)
        at, shape = _padding(samples)
        x = _padded(at, shape, standardised(activation, mean, scale))
        logits = network_logits(self.network, weights, x).astype(np.float64)
        if self.claims == "contact":
            return as_claimed(logits[at], self.claims)
        each = 1.0 / (1.0 + np.exp(-logits))
        return (np.cumsum(each, axis=1) if self.summed else each)[at]

    def _sequences(self, samples: Samples, sides: list[Sides]) -> Sequences:
        at, shape = _padding(samples)
        failures = self.claims == "failure"
        harm = samples.failed[samples.episode] if failures else samples.label.any_risk
        weigh = _episode_weight if failures else _query_weight
        means, scales = zip(*(side.normaliser for side in sides), strict=True)
        return Sequences(
            x=_padded(at, shape, np.asarray(sides[0].features, np.float32)),
            mean=np.stack(means),
            scale=np.stack(scales),
            label=_padded(at, shape, harm),
            weight=np.stack([_padded(at, shape, weigh(samples, side)) for side in sides]),
        )


def _episode_weight(samples: Samples, side: Sides) -> np.ndarray:
    """Float32 [Q]: SAFE's weight by class frequency, n / (1 + how many episodes share the outcome)
    of n training episodes, shared equally by the queries of an episode.
    """
    weight = np.zeros(len(samples), np.float32)
    quiet, harm = (len(np.unique(samples.episode[rows])) for rows in (side.quiet, side.harm))
    length = np.bincount(samples.episode)[samples.episode]
    for rows, count in ((side.quiet, quiet), (side.harm, harm)):
        weight[rows] = (quiet + harm) / (1 + count) / length[rows]
    return weight


def _query_weight(samples: Samples, side: Sides) -> np.ndarray:
    """Float32 [Q]: the same of labelled queries, an episode having as many as the mean one has."""
    weight = np.zeros(len(samples), np.float32)
    known = np.union1d(side.quiet, side.harm)
    parts = len(known) / len(np.unique(samples.episode[known]))
    harm = samples.label.any_risk[known]
    share = np.where(harm, 1 + harm.sum(), 1 + (~harm).sum())
    weight[known] = len(known) / share / parts
    return weight


def _padding(samples: Samples) -> tuple[tuple[np.ndarray, np.ndarray], tuple[int, int]]:
    """Where each query stands in padded episodes (row [Q], column [Q]), and their shape [B, Q]."""
    position = np.concatenate([np.arange(n) for n in np.bincount(samples.episode)])
    return (samples.episode, position), (len(samples.episodes), int(position.max()) + 1)


def _padded(
    at: tuple[np.ndarray, np.ndarray], shape: tuple[int, int], values: np.ndarray
) -> np.ndarray:
    """`values` [Q, ...] as [B, Q, ...], zeros after an episode's end."""
    padded = np.zeros((*shape, *values.shape[1:]), values.dtype)
    padded[at] = values
    return padded


SAFE_MLP = SafeNetwork("SAFE-MLP", "SAFE-MLP", MLP, summed_loss, summed=True)
SAFE_LSTM = SafeNetwork("SAFE-LSTM", "SAFE-LSTM", LSTM)
SAFE_DETECTORS = (
    SAFE_MLP,
    # The same network; a running sum is partly a clock.
    SafeNetwork("SAFE-MLP per query", "SAFE-MLP", MLP, summed_loss),
    SAFE_LSTM,
)
SAFE_TWINS = tuple(
    SafeNetwork(of.name + ON_CONTACTS, of.name + ON_CONTACTS, of.network, claims="contact")
    for of in (SAFE_MLP, SAFE_LSTM)
)
