"""The scripted expert as an actor: it acts inside the worker, so an answer says only "go on"."""

from collections.abc import Sequence
from dataclasses import dataclass

from mist_jax.record.episode import Episode
from mist_jax.rollout.episode_spec import Turn


@dataclass(frozen=True)
class GoOn:
    """No chunk: the worker's expert acts."""

    chunk: None = None
    error: str = ""


class ExpertActor:
    """An `Actor` that leaves every chunk to the worker's own expert."""

    batch_size = 1_000_000

    def answer(self, turns: Sequence[Turn], queries: Sequence[int]) -> list[GoOn]:
        """Nothing to say, at once."""
        return [GoOn() for _ in turns]

    def finish(self, episode: Episode, answers: Sequence[GoOn]) -> Episode:
        """The episode as it is."""
        return episode
