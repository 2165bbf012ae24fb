"""Harmful events: a contact of one pair of bodies with the bounces that follow it closely."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from mist_jax.record.contact import Contact
from mist_jax.record.episode import Episode

EVENT_GAP = (
    16  # control steps after its last one; a harmful contact that returns sooner is a bounce
)
EXOGENOUS_STEPS = 8  # control steps before the query in which a perturbation makes it exogenous


class Begins(Protocol):
    """What begins at a control step."""

    @property
    def first(self) -> int: ...


AnEvent = TypeVar("AnEvent", bound=Begins)


@dataclass(frozen=True)
class Event:
    """One harmful contact with its bounces: in the control steps `first` and `last` it touched.

    `onset` is the contact that begins it; who drove it is said there. `exogenous`: a perturbation
    acted between `EXOGENOUS_STEPS` before the last query ahead of it and its onset, these included;
    where no policy was asked, between as many steps before the onset and the onset.
    """

    first: int
    last: int
    onset: Contact
    exogenous: bool = False


def harmful_events(episode: Episode) -> tuple[Event, ...]:
    """The events of an episode, in time."""
    by_pair: defaultdict[tuple[str, str], list[Contact]] = defaultdict(list)
    for contact in episode.contacts:
        if contact.harmful:
            by_pair[contact.robot_body, contact.obstacle_body].append(contact)
    events: list[Event] = []
    for pair in by_pair.values():
        for run in _runs(sorted(pair, key=lambda contact: contact.step)):
            first = run[0].step
            events.append(Event(first, run[-1].step, run[0], _exogenous(episode, first)))
    return tuple(sorted(events, key=lambda event: event.first))


def first_events(events: Sequence[AnEvent]) -> tuple[AnEvent, ...]:
    """Those that begin in the step of the earliest: several bodies may be hit at once."""
    earliest = min((event.first for event in events), default=None)
    return tuple(event for event in events if event.first == earliest)


def first_normal(episode: Episode, since: int = 0) -> tuple[int, np.ndarray] | None:
    """Control step and unit normal (float64 [3]) of the first harmful event from step `since` on.

    From the obstacle to the robot side, in the world frame; the mean one where several begin in one
    step. None without an event, or where it was pressed from opposite sides.
    """
    onsets = first_events([one for one in harmful_events(episode) if one.first >= since])
    total = np.sum([np.asarray(one.onset.normal, np.float64) for one in onsets], axis=0)
    norm = float(np.linalg.norm(total))
    return (onsets[0].first, total / norm) if onsets and norm > 1e-6 else None


def _runs(contacts: Sequence[Contact]) -> list[list[Contact]]:
    """Cuts a pair's contacts, in time, where `EVENT_GAP` steps or more lie between two."""
    runs: list[list[Contact]] = []
    for contact in contacts:
        if runs and contact.step - runs[-1][-1].step < EVENT_GAP:
            runs[-1].append(contact)
        else:
            runs.append([contact])
    return runs


def _exogenous(episode: Episode, step: int) -> bool:
    asked = np.asarray(episode.queries.step)
    asked = asked[asked <= step]
    since = int(asked.max()) if len(asked) else step
    return bool(episode.steps.perturbed[max(since - EXOGENOUS_STEPS, 0) : step + 1].any())
