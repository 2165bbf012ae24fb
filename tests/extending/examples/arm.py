"""An arm of one's own: at an alarm it goes back.  In run_evaluation:  --extensions=arm

--interventions=none,safe_stop,retreat then runs it beside the others, on the same episodes.
"""

from dataclasses import dataclass, field

from mist_jax.evaluation.arms.row import ArmRow
from mist_jax.evaluation.arms.run_numbers import RunNumbers
from mist_jax.rollout.acting.arm import Unsteered


@dataclass(frozen=True)
class Retreat(Unsteered):
    """Steers nothing; its `edit` replaces what would be executed.

    An arm that steers gives `pushes` (or `coefficient`) and a `threshold` as well.
    """

    numbers: RunNumbers = field(default_factory=RunNumbers)

    @property
    def threshold(self):
        """The risk above which a motion alarms: `said.alarms` counts by it."""
        return self.numbers.alarm_threshold

    def edit(self, actions, said, turn, rng):
        """Goes back as it came for the whole chunk, while any motion alarms; the gripper goes on.

        `said` is what the forward said: `risk` [M], `wanted` [A] of its pushes, and `alarms`, how
        many queries in a row there was one. `turn.motion` is the mean of the last chunk.
        """
        if not said.alarms:
            return actions
        assert turn.motion is not None
        back = actions.copy()
        back[:, :6] = -turn.motion[:6]
        return back


ARMS = (
    ArmRow(
        name="retreat",
        what="at an alarm the arm goes back as it came for the chunk",
        colour="#be123c",
        make=Retreat,
        needs=("risk",),
        compared_with=("none",),
        caveat="retreat takes what it holds back with it: look at successes beside contacts.",
    ),
)
