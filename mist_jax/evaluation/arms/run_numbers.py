"""The numbers that all arms of a run share."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS
from mist_jax.rollout.acting.release import NEVER, Release

if TYPE_CHECKING:
    from mist_jax.evaluation.arms.beforehand.oracle import Oracle
    from mist_jax.evaluation.arms.beforehand.replays import Replays
    from mist_jax.steering.bank import SteeringBank
    from mist_jax.steering.causal.bank import CausalBank, Form
    from mist_jax.steering.conceptors.bank import ConceptorBank


@dataclass(frozen=True)
class RunNumbers:
    """What an arm's `make` gets; what the run was not given is None.

    Attributes:
        alarm_threshold: float32 [M], the risk above which a signed motion alarms; inf never.
        size: float32 [A], the change that an alarm of a dimension asks for, in executed action
            units per control step.
        brake: share of the policy's own motion against the change that is taken away as well;
            `halt` that of its motion across it.
        release: when a push that alarms opened lets go.
        causal: the bank that pushes are made of.
        intent: of its intents, the one that says what to want.
        form: of its maps from a wanted change to a push, the one that acts.
        directions: a bank of directions; each pushes as far as was measured to give `size`.
        conceptors: a bank of soft projections, dosed in the same way.
        replays: what an earlier evaluation's steered arm wanted.
        oracle: where unsteered episodes of the same scenes hit something.
    """

    alarm_threshold: np.ndarray = field(
        default_factory=lambda: np.full(len(SIGNED_MOTIONS), np.inf, np.float32)
    )
    size: np.ndarray = field(default_factory=lambda: np.zeros(len(ACTION_DIMENSIONS), np.float32))
    brake: float = 0.0
    halt: float = 0.0
    release: Release = NEVER
    causal: "CausalBank | None" = None
    intent: str = "against_motion"
    form: "Form" = "table"
    directions: "SteeringBank | None" = None
    conceptors: "ConceptorBank | None" = None
    replays: "Replays | None" = None
    oracle: "Oracle | None" = None
