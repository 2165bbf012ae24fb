"""What an arm of an experiment may do to a query, and the arrays that all arms share.

An arm is a set of numbers per example, so that steered and unsteered episodes share one batch of
one compiled forward. `Controller` holds what is common: directions, gates and the risk head.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.intervention.reader import RiskReader
from mist_jax.intervention.site import DEFAULT_SITE
from mist_jax.rollout.episode_spec import Turn


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

    def coefficient(self, turn: Turn, query: int) -> np.ndarray:
        """Float32 [V]: the strength of each direction of the bank; zeros leave the model alone."""
        ...

    def edit(
        self, actions: np.ndarray, risk: np.ndarray, turn: Turn, rng: np.random.Generator
    ) -> np.ndarray:
        """The chunk to execute, float32 [C, A].

        `actions` are the environment's, in [-1, 1], after the gripper post-processing; `risk` is
        this query's, of each signed motion, float32 [M]; `rng` depends on the episode and the query
        only.
        """
        ...


@dataclass(frozen=True)
class Unsteered:
    """The arm `none`: the policy as it is."""

    directions: int = 1
    name: str = "none"
    shrink: float = 0.0

    @property
    def threshold(self) -> np.ndarray:
        """Never opens a gate."""
        return np.full(len(SIGNED_MOTIONS), np.inf, np.float32)

    def coefficient(self, turn: Turn, query: int) -> np.ndarray:
        """Zeros [V]."""
        return np.zeros(self.directions, np.float32)

    def edit(
        self, actions: np.ndarray, risk: np.ndarray, turn: Turn, rng: np.random.Generator
    ) -> np.ndarray:
        """The actions as they are."""
        return actions


@dataclass(frozen=True)
class Controller:
    """What every arm of a run draws from: the bank's `vectors` [V, L, D], its `gates` [V, M].

    Steering acts at `site`, the bank's, on `tokens`; None: the site's own.
    """

    vectors: np.ndarray
    gates: np.ndarray
    risk_head: RiskReader
    tokens: tuple[str, ...] | None = None
    site: str = DEFAULT_SITE
