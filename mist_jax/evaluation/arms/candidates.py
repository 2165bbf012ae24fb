"""The arm that chooses among sampled changes by what branches taught: no activation is touched."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mist_jax.evaluation.arms.beforehand.draws import episode_rng, random_changes
from mist_jax.evaluation.arms.causal import CONTROLS, CausalArm
from mist_jax.evaluation.arms.push_specs import CANDIDATES as PUSH
from mist_jax.evaluation.arms.row import ArmRow
from mist_jax.intervention.intent.sampled_value import SAMPLES
from mist_jax.rollout.acting.arm import PushNumbers
from mist_jax.rollout.episode_spec import Turn


@dataclass(frozen=True)
class Candidates(CausalArm):
    """Told by the forward which candidate is best, it adds that one to the actions."""

    push: str = PUSH
    applied: float = 0.0

    def pushes(self, turn: Turn, query: int) -> Mapping[str, PushNumbers]:
        """Candidates of the scene, the seed and the query, in the dimensions of the branches."""
        assert self.numbers.causal is not None
        tried = (np.asarray(self.numbers.causal.action_value().candidates) != 0).any(axis=0)
        rng = episode_rng(turn.key, f"candidates/{query}")
        drawn = random_changes(rng, SAMPLES, self.numbers.size, tried)
        return {self.push: PushNumbers(applied=self.applied, candidates=drawn)}


CANDIDATES = ArmRow(
    name="candidates",
    what=f"the best of {SAMPLES} drawn changes no longer than mist's, by what branches taught, "
    "added to the actions",
    colour="#6b4f9e",
    make=Candidates,
    needs=("risk", "causal"),
    pushes=(PUSH,),
    compared_with=CONTROLS,
    dose_of="mist",
)
