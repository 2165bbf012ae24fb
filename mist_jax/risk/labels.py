"""What is to be predicted, computed from an episode alone (docs/definitions.md).

A query at step t sees the world before the action of step t. A harmful event that begins during
one of the steps t .. t + horizon - 1 lies within its horizon.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import numpy as np

from mist_jax.errors import UserError
from mist_jax.record.contact import DEFAULT_HORIZON, DEFAULT_SHARE
from mist_jax.record.episode import Episode
from mist_jax.record.event import Event, first_events, harmful_events
from mist_jax.signed import DIMENSION, MOTIONS, signed

STILL = 1e-5  # m/s or rad/s; less is rounding, not motion
Target = Literal["first", "all"]
TARGETS: tuple[str, ...] = get_args(Target)


@dataclass(frozen=True)
class DrivenEvent:
    """A harmful event as labels see it; `motions` are indices of the signed ones that drive it."""

    first: int  # control steps of the first and the last contact
    last: int
    motions: tuple[int, ...]
    exogenous: bool


@dataclass(frozen=True)
class EventLabels:
    """Labels of queries about the first harmful event of their episode, or about all of them.

    `steps_to_event` counts control steps to the next event that signed motion m drives (its share
    is large enough and it moved that way), `ahead` those to the next event whatever drove it; inf
    where none lies within the horizon. `open` is False where there is nothing to forecast: inside a
    running event, its bounces included, or, of first events, after it began. `seen` counts the
    steps from the query on that are known: to the episode's end, inf before a success (nothing
    follows it, and that is known). `exogenous`: a perturbation had a hand in the event that `ahead`
    is about.
    """

    steps_to_event: np.ndarray  # float32 [Q, M]
    ahead: np.ndarray  # float32 [Q]
    open: np.ndarray  # bool [Q]
    seen: np.ndarray  # float32 [Q]
    exogenous: np.ndarray  # bool [Q]
    horizon: int

    @property
    def risk(self) -> np.ndarray:
        """bool [Q, M]: signed motion m drives an event within the horizon."""
        return np.isfinite(self.steps_to_event) & self.open[:, None]

    @property
    def any_risk(self) -> np.ndarray:
        """bool [Q]: an event begins within the horizon, whatever drives it."""
        return np.isfinite(self.ahead) & self.open

    @property
    def valid(self) -> np.ndarray:
        """bool [Q]: there is something to forecast, and the whole horizon is known.

        A horizon that is cut short is no label even if an event came before the cut: such queries
        would count where they are positive and be left out where they are negative.
        """
        return self.open & (self.seen >= self.horizon)

    def hazard(self, windows: int) -> tuple[np.ndarray, np.ndarray]:
        """Events and who is at risk, bool [Q, W, M], in `windows` equal parts of the horizon.

        Discrete-time survival (Tutz & Schmid 2016, Modeling Discrete Time-to-Event Data): a motion
        is at risk in a window that it reaches without its event and that is known to its end, so
        windows that a crash or a time-out cuts are censored. Another motion's event does not end
        it: 1 - prod(1 - hazard) is the probability of `risk`, the cumulative incidence (Fine &
        Gray 1999), whose risk sets keep the competing events up to the known time of censoring.

        Raises:
            UserError: `windows` does not divide the horizon.
        """
        if windows < 1 or self.horizon % windows:
            raise UserError(f"{windows} windows do not divide a horizon of {self.horizon} steps")
        width = self.horizon // windows
        start = np.arange(0, self.horizon, width)[:, None]  # [W, 1]
        steps = self.steps_to_event[:, None, :]  # [Q, 1, M]
        known = self.open[:, None] & (self.seen[:, None] >= start[:, 0] + width)  # [Q, W]
        at_risk = known[..., None] & (steps >= start)
        return at_risk & (steps < start + width), at_risk

    @classmethod
    def joined(cls, parts: Sequence["EventLabels"]) -> "EventLabels":
        """Labels of several episodes, of one horizon, as one."""
        columns = [one.name for one in fields(cls) if one.name != "horizon"]
        stacked = {name: np.concatenate([getattr(one, name) for one in parts]) for name in columns}
        return cls(**stacked, horizon=parts[0].horizon)


@dataclass(frozen=True)
class FailureLabels:
    """SAFE's labels (arXiv 2506.09937) of one episode's queries.

    `steps_to_failure` runs to the episode's end where it failed, inf where it succeeded. A crash is
    no failure: `valid` is False throughout.
    """

    failed: bool
    steps_to_failure: np.ndarray  # float32 [Q]
    fail_within: np.ndarray  # bool [Q]
    valid: np.ndarray  # bool [Q]


def driven_events(episode: Episode, share: float = DEFAULT_SHARE) -> tuple[DrivenEvent, ...]:
    """The harmful events of an episode, in time, and the signed motions that drive each."""
    return tuple(
        DrivenEvent(
            first=event.first,
            last=event.last,
            motions=tuple(np.flatnonzero(_drives(event, share)).tolist()),
            exogenous=event.exogenous,
        )
        for event in harmful_events(episode)
    )


def event_labels(
    episode: Episode,
    target: Target = "first",
    horizon: int = DEFAULT_HORIZON,
    share: float = DEFAULT_SHARE,
) -> EventLabels:
    """Contact labels of every query of `episode`, per signed motion.

    Raises:
        ValueError: there is no such target.
    """
    step = np.asarray(episode.queries.step, np.int64)
    seen = known_steps(step, len(episode.steps), episode.outcome)
    return labels_of(driven_events(episode, share), step, seen, target, horizon)


def known_steps(step: np.ndarray, length: int, outcome: str) -> np.ndarray:
    """Float32 [Q]: `EventLabels.seen` of queries at `step` of an episode of `length` steps."""
    left = np.asarray(length - step, np.float32)
    return np.full_like(left, np.inf) if outcome == "success" else left


def labels_of(
    every: Sequence[DrivenEvent], step: np.ndarray, seen: np.ndarray, target: Target, horizon: int
) -> EventLabels:
    """Labels of the queries at `step` (int [Q]) of an episode with these events.

    `seen` is float32 [Q], as in `EventLabels`.

    Raises:
        ValueError: there is no such target.
    """
    if target not in TARGETS:
        raise ValueError(f"no target {target!r}; there are {', '.join(TARGETS)}")
    events = every if target == "all" else first_events(every)
    onset = np.asarray([event.first for event in events], np.int64)
    drives = np.zeros((len(events), MOTIONS), bool)
    for row, event in enumerate(events):
        drives[row, list(event.motions)] = True
    distance = (onset[None, :] - step[:, None]).astype(np.float64)  # [Q, event]
    distance = np.where((distance >= 0) & (distance < horizon), distance, np.inf)
    per_motion = np.where(drives[None], distance[..., None], np.inf)  # [Q, event, M]
    ahead = distance.min(axis=1, initial=np.inf)
    pushed = np.asarray([event.exogenous for event in events], bool)
    nearest = np.isfinite(distance) & (distance == ahead[:, None])
    return EventLabels(
        steps_to_event=per_motion.min(axis=1, initial=np.inf).astype(np.float32),
        ahead=ahead.astype(np.float32),
        open=_open(every, step, target),
        seen=seen,
        exogenous=(nearest & pushed).any(axis=1),
        horizon=horizon,
    )


def failure_labels(episode: Episode, within: int = DEFAULT_HORIZON) -> FailureLabels:
    """Outcome, time to failure and fail-within-`within` for every query of `episode`."""
    query_step = np.asarray(episode.queries.step, np.float32)
    failed = episode.outcome == "failure"
    left = len(episode.steps) - query_step if failed else np.full_like(query_step, np.inf)
    valid = np.full(len(query_step), episode.outcome != "crashed")
    return FailureLabels(failed, left, left <= within, valid)


def _drives(event: Event, share: float) -> np.ndarray:
    """bool [M]: which signed motions brought it about."""
    onset = event.onset
    large = np.asarray(onset.share, np.float64) >= share
    return large[DIMENSION] & signed(np.asarray(onset.motion, np.float64), STILL)


def _open(events: Sequence[DrivenEvent], step: np.ndarray, target: Target) -> np.ndarray:
    """bool [Q]: no event runs at the instant before each step; of first events, none has begun."""
    free = np.ones(len(step), bool)
    for event in events:
        until = np.inf if target == "first" else event.last
        free &= ~((event.first < step) & (step <= until))
    return free
