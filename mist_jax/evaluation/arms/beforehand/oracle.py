"""Where the unsteered policy hits something, known beforehand: the ceiling of good timing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.episodes.reader import read_episodes
from mist_jax.errors import UserError
from mist_jax.record.episode import UNSTEERED, Episode, EpisodeKey
from mist_jax.record.event import first_normal

QUERIES = 2  # before the first event, in which an oracle acts
Pair = tuple[str, int, int, int]


@dataclass(frozen=True)
class Foreseen:
    """The first event of one unsteered episode; a clean one has no steps to act at, nor has one
    pressed from opposite sides: there is no way out to be told.

    `normal` [3] is a unit vector, from the obstacle to the robot side, in the world frame.
    """

    steps: frozenset[int]
    normal: np.ndarray


@dataclass(frozen=True)
class Oracle:
    """What is foreseen of each pair: suite, task, initial state, seed."""

    events: Mapping[Pair, Foreseen]

    def change(self, key: EpisodeKey, step: int, size: np.ndarray) -> np.ndarray:
        """Float32 [A]: away along the normal, by `size` [A], at the steps before the event.

        Raises:
            UserError: the unsteered episode is not known.
        """
        there, found = self._of(key), np.zeros(len(ACTION_DIMENSIONS), np.float32)
        if step in there.steps:
            found[:3] = there.normal * size[:3]
        return found

    def check(self, keys: list[EpisodeKey]) -> None:
        """Raises UserError where an episode's unsteered twin is not known."""
        for key in keys:
            self._of(key)

    def _of(self, key: EpisodeKey) -> Foreseen:
        pair = (key.suite, key.task_id, key.initial_state, key.seed)
        if pair not in self.events:
            raise UserError(
                f"--oracle_from has no unsteered episode of {key.suite} task {key.task_id}, "
                f"initial state {key.initial_state}, seed {key.seed}; run the arm {UNSTEERED} there"
            )
        return self.events[pair]


def read_oracle(folder: Path) -> Oracle:
    """From unsteered episodes: an evaluation's or a collection's.

    Raises:
        UserError: there is no dataset, or no unsteered episode in it.
    """
    events = {
        (key.suite, key.task_id, key.initial_state, key.seed): foreseen(episode)
        for episode in read_episodes(folder)
        if (key := episode.key).arm == UNSTEERED and episode.outcome != "crashed"
    }
    if not events:
        raise UserError(f"{folder} holds no unsteered episode; run the arm {UNSTEERED} first")
    return Oracle(events)


def foreseen(episode: Episode) -> Foreseen:
    """The steps of the last queries before the first event, that in which it begins included."""
    first = first_normal(episode)
    if first is None:
        return Foreseen(frozenset(), np.zeros(3))
    begins, normal = first
    steps = np.asarray(episode.queries.step)
    return Foreseen(frozenset(steps[steps <= begins][-QUERIES:].tolist()), normal)
