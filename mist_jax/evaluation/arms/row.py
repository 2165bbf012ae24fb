"""What an arm says of itself: one row, which every binary, figure and sentence reads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mist_jax.evaluation.arms.run_numbers import RunNumbers
from mist_jax.record.episode import UNSTEERED

if TYPE_CHECKING:
    from mist_jax.rollout.acting.arm import Arm

# What a run must be given: a risk head, a bank of causal pushes, one of directions, one of
# conceptors, an earlier evaluation, unsteered episodes of the same scenes.
Need = Literal["risk", "causal", "directions", "conceptors", "replay", "oracle"]


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
        make: from the arm's name and the run's numbers, what acts (`rollout/acting/arm.py`).
        needs: what a run with it must be given.
        pushes: names of the causal pushes that it draws from (`evaluation/arms/push_specs.py`).
        compared_with: the controls that it is compared with, pair by pair; itself is left out.
        control: its words where it is such a control.
        dose_of: the arm whose dose, the realised change of the action, it is to have; "" for none.
        caveat: what a reader must know of every run that has it, a whole sentence.
    """

    name: str
    what: str
    colour: str
    make: Callable[[str, RunNumbers], "Arm"]
    needs: tuple[Need, ...] = ()
    pushes: tuple[str, ...] = ()
    compared_with: tuple[str, ...] = (UNSTEERED,)
    control: Control | None = None
    dose_of: str = ""
    caveat: str = ""
