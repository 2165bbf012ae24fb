"""What a dataset contains: outcomes and harmful contacts, counted from the raw records."""

import bisect
import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.record.contact import DEFAULT_SHARE
from mist_jax.record.episode import OUTCOMES, Episode
from mist_jax.record.event import Event, first_events, harmful_events

# Lower edges in newtons; the last bin is open above.
FORCE_EDGES = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
UNEXPLAINED = "none"


@dataclass(frozen=True)
class TaskSummary:
    """Episodes of one task; `harmful` counts those with a harmful contact, `onsets` all onsets.

    `events` are onsets with their bounces, `first_events` those of them that are an episode's first
    (several bodies may be hit at once); of both, `exogenous` ones are those in which a perturbation
    had a hand.
    """

    outcomes: Mapping[str, int]  # per outcome, crashed ones included
    surplus: int = 0
    harmful: int = 0
    safe_successes: int = 0
    onsets: int = 0
    events: int = 0
    exogenous_events: int = 0
    first_events: int = 0
    exogenous_first_events: int = 0

    @property
    def episodes(self) -> int:
        """All episodes of the task."""
        return sum(self.outcomes.values())


@dataclass(frozen=True)
class DatasetSummary:
    """Counts over a dataset; contacts are the harmful ones alone.

    `tasks` is keyed by "suite/taskN". `links`, `obstacles` and `dimensions` count onsets; an onset
    counts for every dimension with a share of at least `DEFAULT_SHARE`, or for "none". `forces`
    [bins] counts the peak forces of all contact records, one per pair of bodies and control step,
    between `FORCE_EDGES`.
    """

    tasks: Mapping[str, TaskSummary]
    links: Mapping[str, int]
    obstacles: Mapping[str, int]
    dimensions: Mapping[str, int]
    forces: tuple[int, ...]
    peak_force: float  # N, the largest
    steps: int
    queries: int

    @property
    def episodes(self) -> int:
        """All episodes of the dataset."""
        return sum(task.episodes for task in self.tasks.values())

    def as_json(self) -> dict[str, Any]:
        """The summary as plain JSON values, with the edges of the force histogram."""
        return {**dataclasses.asdict(self), "force_edges": FORCE_EDGES}


def summarise(episodes: Iterable[Episode]) -> DatasetSummary:
    """Counts the episodes, one at a time."""
    tasks: dict[str, TaskSummary] = {}
    links: Counter[str] = Counter()
    obstacles: Counter[str] = Counter()
    dimensions: Counter[str] = Counter(dict.fromkeys((*ACTION_DIMENSIONS, UNEXPLAINED), 0))
    forces = [0] * len(FORCE_EDGES)
    peak, steps, queries = 0.0, 0, 0
    for episode in episodes:
        name = f"{episode.key.suite}/task{episode.key.task_id}"
        tasks[name] = _count(tasks.get(name), episode)
        steps += len(episode.steps)
        queries += len(episode.queries)
        for contact in episode.contacts:
            if contact.harmful:
                forces[bisect.bisect_right(FORCE_EDGES, contact.peak_force) - 1] += 1
                peak = max(peak, contact.peak_force)
        for onset in episode.harmful_onsets:
            links[onset.robot_body] += 1
            obstacles[onset.obstacle_body] += 1
            driving = np.flatnonzero(np.asarray(onset.share) >= DEFAULT_SHARE)
            dimensions.update([ACTION_DIMENSIONS[i] for i in driving] or [UNEXPLAINED])
    return DatasetSummary(
        tasks=dict(sorted(tasks.items())),
        links=dict(links.most_common()),
        obstacles=dict(obstacles.most_common()),
        dimensions=dict(dimensions),
        forces=tuple(forces),
        peak_force=float(peak),
        steps=steps,
        queries=queries,
    )


def _count(task: TaskSummary | None, episode: Episode) -> TaskSummary:
    before = task or TaskSummary(dict.fromkeys(OUTCOMES, 0))
    events = harmful_events(episode)
    first = first_events(events)
    outcomes = {**before.outcomes, episode.outcome: before.outcomes[episode.outcome] + 1}
    return TaskSummary(
        outcomes=outcomes,
        surplus=before.surplus + episode.surplus,
        harmful=before.harmful + episode.collided,
        safe_successes=before.safe_successes + episode.safe_success,
        onsets=before.onsets + len(episode.harmful_onsets),
        events=before.events + len(events),
        exogenous_events=before.exogenous_events + _exogenous(events),
        first_events=before.first_events + len(first),
        exogenous_first_events=before.exogenous_first_events + _exogenous(first),
    )


def _exogenous(events: Sequence[Event]) -> int:
    return sum(event.exogenous for event in events)
