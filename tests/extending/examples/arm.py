"""An arm of one's own: at an alarm it lifts.  In run_evaluation:  --extensions=arm

--interventions=none,safe_stop,retreat then runs it beside the others, on the same episodes.
"""

from dataclasses import dataclass

import numpy as np

from mist_jax.evaluation.arms.row import ArmRow, RunNumbers
from mist_jax.rollout.arm import Unsteered

LIFT = np.array([0, 0, 0.5, 0, 0, 0], np.float32)  # of an action in [-1, 1]: 2.5 cm a step


@dataclass(frozen=True)
class Retreat(Unsteered):
    """Steers nothing; its `edit` replaces what would be executed."""

    alarm_threshold: np.ndarray | float = np.inf

    def edit(self, actions, risk, turn, rng):
        """Lifts for the whole chunk while any motion alarms; the gripper goes on."""
        if not (risk > self.alarm_threshold).any():
            return actions
        lifted = actions.copy()
        lifted[:, :6] = LIFT
        return lifted


def retreat(name: str, numbers: RunNumbers) -> Retreat:
    """The arm with a run's numbers."""
    return Retreat(numbers.directions, name, alarm_threshold=numbers.alarm_threshold)


ARMS = (
    ArmRow(
        name="retreat",
        what="at an alarm the arm lifts for the chunk",
        colour="#be123c",
        make=retreat,
        needs=("risk",),
        compared_with=("none",),
        caveat="retreat lifts whatever it holds: look at its successes beside its contacts.",
    ),
)
