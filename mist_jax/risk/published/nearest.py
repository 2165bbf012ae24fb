"""SAFE's cosine distance to the nearest queries of either outcome, as a detector of failure."""

from dataclasses import dataclass

import numpy as np

from mist_jax.risk.detector import Claim, Fit, Member, Progress, activation_at
from mist_jax.risk.features import Samples
from mist_jax.risk.plan import Plan
from mist_jax.risk.published.distances import cosine_scores
from mist_jax.risk.published.outcomes import both_outcomes, episodes_of, outcome_queries


@dataclass(frozen=True)
class CosineNeighbours:
    """Far from successful training episodes, near to failed ones."""

    name: str = "cosine kNN"
    claims: Claim = "failure"

    @property
    def learner(self) -> str:
        return self.name

    def epochs(self, plan: Plan) -> int:
        return 0

    def fit(self, samples: Samples, plan: Plan, progress: Progress) -> Fit:
        """Keeps the normalised training queries of either outcome."""
        train, _ = episodes_of(samples, plan.folds)
        members: list[Member | None] = [None] * plan.folds.count
        for k in both_outcomes(samples, train):
            members[k] = outcome_queries(samples, train[k], max(samples.layers))
        return Fit(members)

    def score(self, member: Member, samples: Samples) -> np.ndarray:
        """Scores [Q]."""
        activation = activation_at(samples, int(member["layer"]), self.name)
        normal = (activation - member["mean"]) / member["scale"]
        return cosine_scores(member["success"], member["failure"], normal)


COSINE_NEIGHBOURS = CosineNeighbours()
