"""What alarm rules see of a detector: one number per query, episode by episode, in time."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class ScorePaths:
    """Scores of the queries that were watched: those up to an episode's first event, say.

    Rows are in the order of the episodes and within one in time; episodes may differ in length.
    `clean`: the episode ran to its end without a harmful contact. Rules are fitted to clean ones.
    """

    score: np.ndarray  # float [Q]
    episode: np.ndarray  # int [Q], not decreasing
    query: np.ndarray  # int [Q], the query's number within its episode
    clean: np.ndarray  # bool [Q], the same throughout an episode

    def __len__(self) -> int:
        return len(self.score)

    def where(self, rows: np.ndarray) -> "ScorePaths":
        """Some of the rows, bool [Q]."""
        return replace(
            self,
            score=self.score[rows],
            episode=self.episode[rows],
            query=self.query[rows],
            clean=self.clean[rows],
        )

    def with_score(self, score: np.ndarray) -> "ScorePaths":
        """The same queries with other scores [Q]."""
        return replace(self, score=score)

    @cached_property
    def starts(self) -> np.ndarray:
        """int [episodes]: the first row of each."""
        return np.flatnonzero(np.diff(self.episode, prepend=-1))

    @property
    def count(self) -> int:
        """How many episodes there are."""
        return len(self.starts)

    @cached_property
    def number(self) -> np.ndarray:
        """int [Q]: 0 for the rows of the first episode, 1 for those of the second, ..."""
        return np.cumsum(np.diff(self.episode, prepend=-1) != 0) - 1

    @property
    def peaks(self) -> np.ndarray:
        """float [episodes]: the largest score of each."""
        return np.maximum.reduceat(self.score, self.starts) if len(self) else self.score

    def halves(self) -> tuple["ScorePaths", "ScorePaths"]:
        """Every other episode, and the rest: one to learn a shape from, one to set its level."""
        odd = self.number % 2 == 1
        return self.where(odd), self.where(~odd)
