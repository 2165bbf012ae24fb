"""Arms that push for changes known before the forward, at no alarm."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mist_jax.evaluation.arms.causal import CONTROLS
from mist_jax.evaluation.arms.push_specs import GIVEN
from mist_jax.evaluation.arms.row import ArmRow
from mist_jax.evaluation.arms.run_numbers import RunNumbers
from mist_jax.rollout.acting.arm import NOTHING, PushNumbers, Unsteered
from mist_jax.rollout.episode_spec import Turn


@dataclass(frozen=True)
class Replayed(Unsteered):
    """What was wanted in another episode, query by query."""

    numbers: RunNumbers = field(default_factory=RunNumbers)

    def pushes(self, turn: Turn, query: int) -> Mapping[str, PushNumbers]:
        """The given push, where a change was wanted there."""
        assert self.numbers.replays is not None
        return _given(self.numbers.replays.change(turn.key, query))


@dataclass(frozen=True)
class Foretold(Unsteered):
    """Away from what the unsteered episode hits, shortly before it does."""

    numbers: RunNumbers = field(default_factory=RunNumbers)

    def pushes(self, turn: Turn, query: int) -> Mapping[str, PushNumbers]:
        """The given push, in the queries before the event."""
        assert self.numbers.oracle is not None
        return _given(self.numbers.oracle.change(turn.key, turn.step, self.numbers.size))


def _given(change: np.ndarray) -> Mapping[str, PushNumbers]:
    return {GIVEN: PushNumbers(change=change)} if change.any() else NOTHING


REPLAYED = ArmRow(
    name="replayed",
    what="the changes that mist wanted in another episode of the task, at those times",
    colour="#5fa8d3",
    make=Replayed,
    needs=("causal", "replay"),
    pushes=(GIVEN,),
    compared_with=CONTROLS,
    dose_of="mist",
)
ORACLE = ArmRow(
    name="oracle",
    what="away along the normal of the unsteered episode's first event, in the two queries before",
    colour="#111827",
    make=Foretold,
    needs=("causal", "oracle"),
    pushes=(GIVEN,),
    compared_with=CONTROLS,
    caveat="oracle knows where the unsteered episode hits something: it is a ceiling, no method.",
)
