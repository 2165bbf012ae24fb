"""Detectors that know two sorts of queries: far from the quiet ones, near to the harmful ones.

SAFE (Gu et al., arXiv 2506.09937) judges distances and densities of embeddings this way: the score
is a distance to the queries of successful training episodes less that to the failed ones, without a
running sum, so that a score speaks of its own query. The twin of each that is trained on contact
labels contrasts queries before an event with others. Features are standardised on the training fold
(in SAFE's code: not at all, or with test episodes too).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np

from mist_jax.risk.detector import Claim, Fit, Member, Progress, activation_at
from mist_jax.risk.features import Samples
from mist_jax.risk.plan import Plan
from mist_jax.risk.published.sides import Sides, as_claimed, sides_of, standardised

ON_CONTACTS = " on contacts"  # ends the name of a twin trained on contact labels


class Method(Protocol):
    """How two sides are learnt and a query is placed between them."""

    @property
    def blocks(self) -> int:
        """Of how many parts `fit` tells `progress`, per fold; 0: it takes no time to speak of."""
        ...

    def fit(self, sides: Sequence[Sides], progress: Progress) -> list[dict[str, Any]]:
        """What is learnt of each fold: arrays by name."""
        ...

    def score(self, learnt: Member, features: np.ndarray) -> np.ndarray:
        """Float [Q], of standardised `features` [Q, D]; higher: nearer to harm."""
        ...


@dataclass(frozen=True)
class Contrast:
    """A method on activations of the last stored layer, mean over the action tokens."""

    name: str
    method: Method
    claims: Claim = "failure"
    beside: Callable[[Samples], np.ndarray] | None = None  # features [Q, F] beside the activation

    @property
    def learner(self) -> str:
        return self.name

    @property
    def twin(self) -> Self:
        """The same, trained on contact labels."""
        return replace(self, name=self.name + ON_CONTACTS, claims="contact")

    def epochs(self, plan: Plan) -> int:
        return self.method.blocks * plan.folds.count

    def layer(self, samples: Samples, plan: Plan) -> int:
        """The last that is stored, as published."""
        return max(samples.layers)

    def fit(self, samples: Samples, plan: Plan, progress: Progress) -> Fit:
        """One member per fold that has something to tell apart."""
        layer = self.layer(samples, plan)
        features = self._features(samples, layer)
        count = plan.folds.count
        found = {k: sides_of(samples, plan.folds, k, self.claims, features) for k in range(count)}
        sides = {k: side for k, side in found.items() if side is not None}
        members: list[Member | None] = [None] * count
        for (k, side), learnt in zip(
            sides.items(), self.method.fit(list(sides.values()), progress), strict=True
        ):
            mean, scale = side.normaliser
            members[k] = {**learnt, "mean": mean, "scale": scale, "layer": np.int32(layer)}
        return Fit(members)

    def score(self, member: Member, samples: Samples) -> np.ndarray:
        """Scores [Q], or [Q, M] of contacts, where every motion has the same."""
        features = self._features(samples, int(member["layer"]))
        normal = standardised(features, np.asarray(member["mean"]), np.asarray(member["scale"]))
        return as_claimed(self.method.score(member, normal), self.claims)

    def _features(self, samples: Samples, layer: int) -> np.ndarray:
        activation = activation_at(samples, layer, self.name)
        if self.beside is None:
            return activation
        return np.concatenate([activation, self.beside(samples)], axis=1)
