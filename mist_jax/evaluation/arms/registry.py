"""The table of arms: this project's, and those of the modules that MIST_EXTENSIONS names."""

from collections.abc import Mapping
from types import MappingProxyType

from mist_jax.errors import UserError
from mist_jax.evaluation.arms.brakes import LIFT, SAFE_STOP, SHRINK, SLOW_DOWN
from mist_jax.evaluation.arms.candidates import CANDIDATES
from mist_jax.evaluation.arms.causal import (
    ACTION_EDIT,
    FLIPPED,
    MIST_ARM,
    MIST_EXACT,
    MIST_LINEAR,
    NOISE_ARM,
    PERMUTED_ARM,
    PLACEBO,
)
from mist_jax.evaluation.arms.given_arms import ORACLE, REPLAYED
from mist_jax.evaluation.arms.push_specs import PUSHES
from mist_jax.evaluation.arms.rivals import CONCEPTOR, DIRECTIONS
from mist_jax.evaluation.arms.row import ArmRow
from mist_jax.evaluation.arms.unsteered import NONE
from mist_jax.extensions import extension_rows

# The order is the report's.
ARMS = (
    NONE,
    SAFE_STOP,
    SLOW_DOWN,
    LIFT,
    SHRINK,
    ACTION_EDIT,
    CANDIDATES,
    NOISE_ARM,
    PLACEBO,
    FLIPPED,
    PERMUTED_ARM,
    REPLAYED,
    DIRECTIONS,
    CONCEPTOR,
    MIST_ARM,
    MIST_LINEAR,
    MIST_EXACT,
    ORACLE,
)


def arm_rows() -> Mapping[str, ArmRow]:
    """Every arm by name; a module named in MIST_EXTENSIONS adds those in its `ARMS`.

    Raises:
        UserError: an extension cannot be used, two arms have one name, or an arm is compared with
            what is no control or uses a push that is none.
    """
    rows: dict[str, ArmRow] = {}
    for row in (*ARMS, *extension_rows("ARMS", ArmRow)):
        if row.name in rows:
            raise UserError(f"two arms are called {row.name!r}: rename the extension's")
        rows[row.name] = row
    for row in rows.values():
        for other in row.compared_with:
            if other not in rows or rows[other].control is None:
                raise UserError(f"the arm {row.name!r} is compared with {other!r}, no control")
        unknown = [push for push in row.pushes if push not in PUSHES]
        if unknown:
            raise UserError(
                f"the arm {row.name!r} uses the push {unknown[0]!r}: there are {', '.join(PUSHES)}"
            )
    return MappingProxyType(rows)


def find_arm(name: str) -> ArmRow:
    """One arm's row. Raises UserError for an unknown one."""
    rows = arm_rows()
    if name not in rows:
        raise UserError(f"unknown intervention {name!r}; choose from {', '.join(rows)}")
    return rows[name]


def row_of(name: str) -> ArmRow:
    """The row of an arm that was run; where its extension is not at hand, one that says nothing."""
    return arm_rows().get(name) or ArmRow(name, what="", colour="black", make=NONE.make)


def in_order(names: set[str]) -> list[str]:
    """Arms that were run in the table's order, unknown ones last."""
    return [name for name in arm_rows() if name in names] + sorted(names - set(arm_rows()))
