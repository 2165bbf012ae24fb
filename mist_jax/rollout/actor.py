"""Who acts in the episodes of a run, and what one query to it gives."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from mist_jax.record.episode import Episode
from mist_jax.rollout.episode_spec import Turn


class Answer(Protocol):
    """What one query gave; what else it holds is the actor's own."""

    @property
    def chunk(self) -> np.ndarray | None:
        """Float32 [C, A] for the environment, in [-1, 1]; None: the worker's expert acts."""
        ...

    @property
    def error(self) -> str:
        """Why there is nothing to execute, in one line; the episode then ends as `crashed`."""
        ...


class Actor(Protocol):
    """Answers the workers' questions, many at a time.

    An answer must be a function of its turn, of the episode's key and of the query's index within
    the episode, whatever else is asked beside it.
    """

    @property
    def batch_size(self) -> int:
        """Most turns that one call of `answer` takes."""
        ...

    def answer(self, turns: Sequence[Turn], queries: Sequence[int]) -> Sequence[Answer]:
        """One answer per turn; `queries` are their indices in the episodes."""
        ...

    def finish(self, episode: Episode, answers: Sequence[Any]) -> Episode:
        """The episode as the worker has it, with the record of its own answers, in order."""
        ...
