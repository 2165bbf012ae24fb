"""The policy as it is, but for the change that acts on a branch's first chunks."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mist_jax.counterfactual.branch import Branch
from mist_jax.record.episode import UNSTEERED, Episode, EpisodeKey
from mist_jax.rollout.acting.policy_actor import PolicyActor, PolicyAnswer
from mist_jax.rollout.episode_spec import Turn


class BranchingActor:
    """An `Actor` for branches: adds each one's change to what the policy says.

    The policy is asked what it would be asked in the unsteered episode, its random numbers
    included, so a branch whose change is zero repeats that episode.
    """

    def __init__(self, actor: PolicyActor, branches: Mapping[EpisodeKey, Branch], queries: int):
        """Asks `actor`, which neither steers nor reads risk; changes act on `queries` queries."""
        self.batch_size = actor.batch_size
        self._actor, self._branches, self._queries = actor, branches, queries

    def answer(self, turns: Sequence[Turn], queries: Sequence[int]) -> list[PolicyAnswer]:
        """Answers to `turns`, at most `batch_size`; `queries` count from the fork's on."""
        branches = [self._branches[turn.key] for turn in turns]
        unsteered = [
            dataclasses.replace(turn, key=dataclasses.replace(turn.key, arm=UNSTEERED))
            for turn in turns
        ]
        at = [branch.fork.query + query for branch, query in zip(branches, queries, strict=True)]
        answers = self._actor.answer(unsteered, at)
        return [
            changed(answer, branch.change) if query < self._queries else answer
            for answer, branch, query in zip(answers, branches, queries, strict=True)
        ]

    def finish(self, episode: Episode, answers: Sequence[PolicyAnswer]) -> Episode:
        """The episode with the queries that were asked; a crashed one keeps none."""
        return self._actor.finish(episode, answers)


def changed(answer: PolicyAnswer, change: np.ndarray) -> PolicyAnswer:
    """The answer with `change` [A] added to every action of its chunk, clipped to [-1, 1].

    A zero leaves a dimension as it is.
    """
    moved = np.where(change == 0, answer.chunk, np.clip(answer.chunk + change, -1.0, 1.0))
    moved = moved.astype(np.float32)
    return dataclasses.replace(answer, chunk=moved, edited=not np.array_equal(moved, answer.chunk))
