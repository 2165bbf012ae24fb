"""One connection's episodes: which query is next, and what was executed since the last."""

import asyncio
import time

import numpy as np

from mist_jax.errors import UserError
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.acting.policy_actor import PolicyAnswer
from mist_jax.serving.batcher import Batcher
from mist_jax.serving.observation import ServedObservation
from mist_jax.serving.served_policy import ServedPolicy


class Client:
    """Asks for one connection, one question at a time.

    Nobody else's episode has the key of one of its: what a risk head remembers, noise and random
    turns are an episode's own. An answer counts once it is there: after an error the same query is
    asked again.

    Attributes:
        query: index, within the episode, of the next question.
        step: the episode's next control step.
        seconds: that the last question took, waiting included.
    """

    def __init__(self, served: ServedPolicy, batcher: Batcher, protocol: str, number: int):
        self.served, self._batcher = served, batcher
        self._protocol, self._number, self._episodes = protocol, number, 0
        self.seconds = 0.0
        self.max_steps = 1
        batcher.join()
        self._fresh()

    @property
    def key(self) -> EpisodeKey:
        """Of the episode that runs."""
        return EpisodeKey(self._protocol, self._number, self._episodes, 0, self.served.arm)

    def begin(self, max_steps: int) -> None:
        """A new episode, of at most so many control steps: nothing is remembered."""
        if self.query:
            self._batcher.forget(self.key)
            self._episodes += 1
        self._fresh()
        self.max_steps = max_steps

    def close(self) -> None:
        """The connection is gone."""
        self._batcher.forget(self.key)
        self._batcher.leave()

    async def ask(self, observation: ServedObservation, executes: int) -> PolicyAnswer:
        """The chunk for an observation, of which the client executes the first `executes` actions.

        Raises:
            UserError: the observation cannot be one's, or the answer cannot be executed.
        """
        began = time.perf_counter()
        turn = await asyncio.to_thread(
            observation.turn,
            self.served.policy.preprocessor,
            self.key,
            step=self.step,
            max_steps=self.max_steps,
            motion=self._motion,
        )
        answer = await self._batcher.ask(turn, self.query)
        self.seconds = time.perf_counter() - began
        self.query += 1
        if answer.error:
            raise UserError(answer.error)
        self.step += executes
        self._motion = answer.chunk[:executes].mean(axis=0)
        return answer

    def _fresh(self) -> None:
        self.query = self.step = 0
        self._motion = np.zeros(self.served.policy.model.action_dim, np.float32)
