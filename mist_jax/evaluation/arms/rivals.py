"""The arms of rival methods, at alarms: pushes along directions, and conceptors."""

from dataclasses import dataclass

import numpy as np

from mist_jax.evaluation.arms.causal import PLACEBO
from mist_jax.evaluation.arms.listening import Listening
from mist_jax.evaluation.arms.row import ArmRow
from mist_jax.record.episode import UNSTEERED
from mist_jax.rollout.episode_spec import Turn


@dataclass(frozen=True)
class AlongDirections(Listening):
    """Pushes along each direction whose own signed motion alarms."""

    def coefficient(self, turn: Turn, query: int) -> np.ndarray | None:
        """Float32 [V]: as far as was measured to move each one's dimension by the run's size."""
        assert self.numbers.directions is not None
        return self.numbers.directions.dosed(self.numbers.size)


@dataclass(frozen=True)
class IntoConceptors(Listening):
    """Draws activations into each conceptor whose own signed motion alarms."""

    def strength(self, turn: Turn, query: int) -> np.ndarray | None:
        """Float32 [V]: as far as was measured to move each one's dimension by the run's size."""
        assert self.numbers.conceptors is not None
        return self.numbers.conceptors.dosed(self.numbers.size)


DIRECTIONS = ArmRow(
    name="directions",
    what="at the alarm of a motion one way, a push along the direction that a method found for it",
    colour="#d97757",
    make=AlongDirections,
    needs=("risk", "directions"),
    compared_with=(UNSTEERED, PLACEBO.name),
    dose_of="mist",
)
CONCEPTOR = ArmRow(
    name="conceptor",
    what="at the alarm of a motion one way, activations are drawn to those that no harm followed",
    colour="#c2884a",
    make=IntoConceptors,
    needs=("risk", "conceptors"),
    compared_with=(UNSTEERED, PLACEBO.name),
    dose_of="mist",
)
