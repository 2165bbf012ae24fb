"""What every arm that acts at alarms has in common: the run's numbers, and when it alarms."""

from dataclasses import dataclass, field

import numpy as np

from mist_jax.evaluation.arms.run_numbers import RunNumbers
from mist_jax.rollout.acting.arm import Unsteered
from mist_jax.rollout.acting.release import Release


@dataclass(frozen=True)
class Listening(Unsteered):
    """Alarms at the run's threshold and lets go by the run's rule, so that arms can be compared.

    Attributes:
        numbers: of the run.
    """

    numbers: RunNumbers = field(default_factory=RunNumbers)

    @property
    def threshold(self) -> np.ndarray:
        """Float32 [M], of an alarm."""
        return self.numbers.alarm_threshold

    @property
    def release(self) -> Release:
        """The run's: all that are compared let go by one rule."""
        return self.numbers.release
