"""What an arm says of itself: one row, which every binary, figure and sentence reads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mist_jax.record.episode import UNSTEERED

if TYPE_CHECKING:
    from mist_jax.rollout.arm import Arm
    from mist_jax.steering.bank import SteeringBank

# What a run must be given: a risk head, a steering bank, the rate of random times.
Need = Literal["risk", "bank", "rate"]


@dataclass(frozen=True)
class RunNumbers:
    """The numbers that all arms of a run share.

    Attributes:
        alarm_threshold: float32 [M], the risk above which a signed motion alarms; inf never.
        coefficient: length of a push as a fraction of the residual stream's norm.
        bank: its directions push; None without one.
        gate_rate: float [M], share of queries at which random times open a motion.
        rotations: random counterparts of the bank that follow it among the controller's directions.
    """

    alarm_threshold: np.ndarray
    coefficient: float
    bank: "SteeringBank | None"
    gate_rate: np.ndarray
    rotations: int

    @property
    def directions(self) -> int:
        """V, the length of every arm's `coefficient`."""
        return 1 if self.bank is None else len(self.bank.names) * (1 + self.rotations)


@dataclass(frozen=True)
class Control:
    """The words of an arm that others are compared with.

    Attributes:
        words: what it is, after "differences from".
        absence: what cannot be known where arms that need it were run without it.
    """

    words: str
    absence: str


@dataclass(frozen=True)
class ArmRow:
    """A row of the table of arms.

    Attributes:
        name: what `--interventions` and every episode call it.
        what: the arm in words, for the report and `--help`.
        colour: of its marks in every figure.
        make: from the arm's name and the run's numbers, what acts (`mist_jax.rollout.arm.Arm`).
        needs: what a run with it must be given.
        compared_with: the controls that it is compared with, pair by pair; itself is left out.
        control: its words where it is such a control.
        caveat: what a reader must know of every run that has it, a whole sentence.
        turned: whether it draws from random counterparts of the bank.
    """

    name: str
    what: str
    colour: str
    make: Callable[[str, RunNumbers], "Arm"]
    needs: tuple[Need, ...] = ()
    compared_with: tuple[str, ...] = (UNSTEERED,)
    control: Control | None = None
    caveat: str = ""
    turned: bool = False
