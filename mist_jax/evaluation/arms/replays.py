"""What a steered arm wanted in an earlier evaluation, to be wanted again in other episodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.episodes.reader import read_episodes
from mist_jax.errors import UserError
from mist_jax.evaluation.arms.draws import episode_rng
from mist_jax.record.episode import EpisodeKey

SOURCE = "mist"  # the arm whose changes are replayed


@dataclass(frozen=True)
class Replays:
    """By suite and task, the episodes that there are: whose they are, and float32 [Q, A] each.

    An episode gets the changes of another scene of its task, always the same one.
    """

    wanted: Mapping[tuple[str, int], Sequence[tuple[EpisodeKey, np.ndarray]]]

    def change(self, key: EpisodeKey, query: int) -> np.ndarray:
        """Float32 [A]: what was wanted at this query there; zero after its end.

        Raises:
            UserError: there is no episode of another scene of the task.
        """
        there = self._another(key)
        if query >= len(there):
            return np.zeros(len(ACTION_DIMENSIONS), np.float32)
        return there[query]

    def check(self, keys: Sequence[EpisodeKey]) -> None:
        """Raises UserError where an episode has none to replay."""
        for key in keys:
            self._another(key)

    def _another(self, key: EpisodeKey) -> np.ndarray:
        others = [
            wanted
            for other, wanted in self.wanted.get((key.suite, key.task_id), ())
            if other.initial_state != key.initial_state
        ]
        if not others:
            raise UserError(
                f"--replay_from has no episode of the arm {SOURCE} of another scene of "
                f"{key.suite} task {key.task_id}; run {SOURCE} on that task first"
            )
        return others[int(episode_rng(key, "replay").integers(len(others)))]


def read_replays(folder: Path) -> Replays:
    """From an evaluation that ran the arm `mist`.

    Raises:
        UserError: there is no such evaluation in the folder.
    """
    found: dict[tuple[str, int], list[tuple[EpisodeKey, np.ndarray]]] = {}
    for episode in read_episodes(folder):
        key, queries = episode.key, episode.queries
        if key.arm == SOURCE and queries.wanted is not None and len(queries):
            found.setdefault((key.suite, key.task_id), []).append((key, queries.wanted))
    if not found:
        raise UserError(f"{folder} holds no episode of the arm {SOURCE}; run it first")
    for episodes in found.values():
        episodes.sort(key=lambda one: one[0])
    return Replays(found)
