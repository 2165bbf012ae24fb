"""Which directions do to the action what their names say: what is not measured to is refused.

A direction named "x+" leads away from the harm of moving along +x, so it must move x backward. It
is causal (docs/definitions.md) where, on states of scenes that neither it nor its scale was made
from, it does so: the sign is right on at least 90% of them, the realised change is 0.7 to 1.3 of
the wanted one, and the cross-talk is below 0.3.

A direction has no unit of its own. It is given the best that a scale can do for it: the coefficient
that realises one unit of action on other states (`per_unit`), up to the length of the activations.
Its sign is not given: a direction that acts the other way is not what its name says.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.fields import check_fields
from mist_jax.signed import DIMENSION
from mist_jax.steering.causal.effects import MotionEffect

NOT_MEASURED = "its effect on actions was not measured"


@dataclass(frozen=True)
class Proof:
    """What is known of one direction's effect on the executed action.

    `per_unit` is the coefficient of the direction for one executed action unit a control step; the
    effect is that of `per_unit` times the wanted change. Without an effect `unmeasured` says why.
    """

    effect: MotionEffect | None = None
    per_unit: float = 0.0
    unmeasured: str = NOT_MEASURED

    @property
    def causal(self) -> bool:
        """Whether it does what its name says; an unmeasured one is not known to."""
        return self.effect is not None and self.effect.causal

    @property
    def reason(self) -> str:
        """Why it is not taken for causal; "" where it is."""
        return self.unmeasured if self.effect is None else self.effect.reason

    def __str__(self) -> str:
        if self.effect is None:
            return f"unproven: {self.unmeasured}"
        one = self.effect
        said = (
            f"sign right in {one.right} of {one.count} states, realised/wanted {one.slope[1]:.2f}, "
            f"cross-talk {one.cross_talk[1]:.2f}"
        )
        return f"causal: {said}" if self.causal else f"not causal: {said}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the verdict beside the figures."""
        effect = None if self.effect is None else dataclasses.asdict(self.effect)
        return {
            "causal": self.causal,
            "reason": self.reason,
            "per_unit": self.per_unit,
            "effect": effect,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; the verdict is made anew, by the rule of this version.

        Raises:
            KeyError, TypeError: fields are missing or of another kind.
        """
        effect = values["effect"]
        if effect is None:
            return cls(unmeasured=str(values["reason"]))
        lists = {name: tuple(value) for name, value in effect.items() if isinstance(value, list)}
        measured = MotionEffect(**{**effect, **lists})
        check_fields(measured)
        return cls(measured, float(values["per_unit"]))


def unproven(names: Sequence[str], proofs: Sequence[Proof]) -> dict[str, str]:
    """The directions that are not known to be causal, each with the reason."""
    return {
        name: proof.reason for name, proof in zip(names, proofs, strict=True) if not proof.causal
    }


def proven_rows(method: str, names: Sequence[str], proofs: Sequence[Proof]) -> list[int]:
    """Places of the causal directions of a method; the others are refused.

    Raises:
        UserError: none of them is; the first one's reason is told.
    """
    rows = [row for row, proof in enumerate(proofs) if proof.causal]
    if not rows:
        name, reason = next(iter(unproven(names, proofs).items()), ("", "there is none"))
        raise UserError(
            f"no direction of {method!r} is known to act as its name says ({name}: {reason}); name "
            "a method that has some, or give --allow_unproven to push along them all the same"
        )
    return rows


def doses(names: Sequence[str], proofs: Sequence[Proof], size: np.ndarray) -> np.ndarray:
    """Float32 [V]: the coefficient at which each direction should move its dimension by `size` [A].

    `size` is in executed action units a control step; 0 for directions that were not measured.
    """
    dimension = DIMENSION[[SIGNED_MOTIONS.index(name) for name in names]]
    per_unit = np.asarray([proof.per_unit for proof in proofs], np.float32)
    return (per_unit * np.asarray(size, np.float32)[dimension]).astype(np.float32)
