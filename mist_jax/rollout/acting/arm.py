"""What an arm of an experiment may do to a query, and the operators that all arms share.

An arm is a set of numbers per example, so that steered and unsteered episodes share one batch of
one compiled forward. `Controller` holds what is common: directions, pushes, gates, the risk head.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS
from mist_jax.intervention.operators.causal_push import CausalPush
from mist_jax.intervention.operators.conceptor import Conceptor
from mist_jax.intervention.reader import RiskReader
from mist_jax.intervention.site import DEFAULT_SITE
from mist_jax.rollout.acting.release import NEVER, Release
from mist_jax.rollout.episode_spec import Turn

if TYPE_CHECKING:
    from mist_jax.policy.policy import Policy
    from mist_jax.policy.preprocessing.preprocessor import PolicyInputs

NOTHING: Mapping[str, "PushNumbers"] = MappingProxyType({})


@dataclass(frozen=True)
class PushNumbers:
    """What one row of the batch uses of a named push of the controller.

    Attributes:
        transform: float32 [A, A], turns what the push's intent wants: the identity leaves it.
        applied: how much of the push acts; 0 only tells what was wanted.
        change: float32 [A], what is wanted where the push's intent is given; executed action units
            per control step.
        candidates: float32 [candidates, A], what is chosen among where the push's intent is
            sampled; executed action units per control step.
        noise: float32 [S, D], the direction where the push's map is noise.
    """

    transform: np.ndarray = field(
        default_factory=lambda: np.eye(len(ACTION_DIMENSIONS), dtype=np.float32)
    )
    applied: float = 1.0
    change: np.ndarray | None = None
    candidates: np.ndarray | None = None
    noise: np.ndarray | None = None


@dataclass(frozen=True)
class Said:
    """What one forward said of a query, beside its actions.

    Attributes:
        risk: float32 [M], of each signed motion; zero without a risk head.
        wanted: float32 [A], the change that the arm's push wanted, acting or told only; executed
            action units per control step.
        alarms: queries in a row, this one the last, at which any motion was above the arm's
            threshold (while it alarms, above what its `release` makes of that).
        released: the arm has let go: this query is to be left alone.
    """

    risk: np.ndarray
    wanted: np.ndarray
    alarms: int = 0
    released: bool = False


class Arm(Protocol):
    """One way to treat an episode; a function of what its turns say and the query index alone."""

    @property
    def name(self) -> str:
        """The key's `arm`."""
        ...

    @property
    def shrink(self) -> float:
        """The shrinkage control of `Steering`: 0.1 scales a gated residual stream by 0.9."""
        ...

    @property
    def threshold(self) -> np.ndarray:
        """Float32 [M]: the risk above which a motion's gate opens; -inf always, +inf never."""
        ...

    @property
    def release(self) -> Release:
        """When what an alarm opened lets go: then its pushes, directions and shrinkage are off."""
        ...

    def coefficient(self, turn: Turn, query: int) -> np.ndarray | None:
        """Float32 [V]: the strength of each of the controller's directions; None leaves them."""
        ...

    def strength(self, turn: Turn, query: int) -> np.ndarray | None:
        """Float32, of each of the controller's conceptors, 0 to 1; None leaves them."""
        ...

    def pushes(self, turn: Turn, query: int) -> Mapping[str, PushNumbers]:
        """By name, the controller's pushes that this query uses; all others leave it alone."""
        ...

    def edit(
        self, actions: np.ndarray, said: Said, turn: Turn, rng: np.random.Generator
    ) -> np.ndarray:
        """The chunk to execute, float32 [C, A].

        `actions` are the environment's, in [-1, 1], after the gripper post-processing; `said` is
        this query's; `rng` depends on the episode and the query only.
        """
        ...


@dataclass(frozen=True)
class Unsteered:
    """The arm `none`: the policy as it is. Others override what they do otherwise."""

    name: str = "none"

    @property
    def shrink(self) -> float:
        """Takes nothing away."""
        return 0.0

    @property
    def threshold(self) -> np.ndarray:
        """Never opens a gate."""
        return np.full(len(SIGNED_MOTIONS), np.inf, np.float32)

    @property
    def release(self) -> Release:
        """Never lets go."""
        return NEVER

    def coefficient(self, turn: Turn, query: int) -> np.ndarray | None:
        """Along no direction."""
        return None

    def strength(self, turn: Turn, query: int) -> np.ndarray | None:
        """Into no ellipsoid."""
        return None

    def pushes(self, turn: Turn, query: int) -> Mapping[str, PushNumbers]:
        """None."""
        return NOTHING

    def edit(
        self, actions: np.ndarray, said: Said, turn: Turn, rng: np.random.Generator
    ) -> np.ndarray:
        """The actions as they are."""
        return actions


@dataclass(frozen=True)
class Controller:
    """What every arm of a run draws from.

    Attributes:
        vectors: float32 [V, L, D], directions that act at `site`, on `tokens` (None: the site's).
        gates: float32 [V, M], 1 where a signed motion's risk may open a direction.
        risk_head: None: no risk, and gates that wait for it stay closed.
        pushes: by name, each built once for the run's batch; what differs between rows are numbers.
        conceptor: soft projections that act beside the directions, for the run's batch.
        row: the row of a push's table that a turn's task and time have.
        exact: names of pushes whose table is the Jacobian at the query's own inputs, which
            `jacobian` gives: float32 [B, A, S, D].
    """

    vectors: np.ndarray
    gates: np.ndarray
    risk_head: RiskReader | None
    tokens: tuple[str, ...] | None = None
    site: str = DEFAULT_SITE
    pushes: Mapping[str, CausalPush] = field(default_factory=dict)
    conceptor: Conceptor | None = None
    row: Callable[[Turn], int] = lambda turn: 0
    exact: frozenset[str] = frozenset()
    jacobian: "Callable[[Policy, list[PolicyInputs]], np.ndarray] | None" = None
