"""Clients' questions as batches of one compiled forward.

All that touches the policy happens on one thread, in order; the event loop never waits for it.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.acting.policy_actor import PolicyAnswer
from mist_jax.rollout.episode_spec import Turn
from mist_jax.serving.served_policy import ServedPolicy


@dataclass(frozen=True)
class _Asked:
    turn: Turn
    query: int
    since: float  # s, of the event loop's clock
    answer: "asyncio.Future[PolicyAnswer]"


class Batcher:
    """Gathers questions until a batch is full, or every client waits, or the first has waited.

    Attributes:
        most: questions that are answered together, at most `batch_size` of the policy; what is
            lacking is padded.
        wait: seconds that a question waits for company.
        clients: connections that might ask.
        batches: calls of the policy so far; `answered`: questions that they held.
    """

    def __init__(self, served: ServedPolicy, wait: float):
        self.limit = served.actor.batch_size
        self.most, self.wait = self.limit, wait
        self.clients = self.batches = self.answered = 0
        self._served = served
        self._waiting: list[_Asked] = []
        self._changed = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "policy")

    async def ask(self, turn: Turn, query: int) -> PolicyAnswer:
        """The answer to a turn; `query` is its index in the episode.

        Cancelled while it waits, it is not asked. Raises what the policy raised over this question.
        """
        loop = asyncio.get_running_loop()
        asked = _Asked(turn, query, loop.time(), loop.create_future())
        self._waiting.append(asked)
        self._changed.set()
        return await asked.answer

    def forget(self, key: EpisodeKey) -> None:
        """Keeps nothing of an episode, once what was asked of it is answered."""
        self._thread.submit(self._served.actor.forget, key)

    def join(self) -> None:
        """One more client might ask."""
        self.clients += 1

    def leave(self) -> None:
        """One client fewer to wait for."""
        self.clients -= 1
        self._changed.set()

    async def run(self) -> None:
        """Answers until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._gathered()
            said = await loop.run_in_executor(self._thread, self._answers, batch)
            for asked, answer in zip(batch, said, strict=True):
                if asked.answer.done():
                    continue
                if isinstance(answer, Exception):
                    asked.answer.set_exception(answer)
                else:
                    asked.answer.set_result(answer)

    def close(self) -> None:
        """Ends the thread, once the batch that it may be at is done and what has gone forgotten."""
        self._thread.shutdown()

    async def _gathered(self) -> list[_Asked]:
        """The next batch: the questions that have waited longest."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            self._waiting = [asked for asked in self._waiting if not asked.answer.done()]
            left = None
            if self._waiting:
                left = self._waiting[0].since + self.wait - loop.time()
                if len(self._waiting) >= min(self.most, max(self.clients, 1)) or left <= 0:
                    batch = self._waiting[: self.most]
                    self._waiting = self._waiting[self.most :]
                    return batch
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _answers(self, batch: Sequence[_Asked]) -> list[PolicyAnswer | Exception]:
        """One of each question; where a batch fails, each is asked by itself to find out which."""
        self.batches += 1
        self.answered += len(batch)
        try:
            turns, queries = [one.turn for one in batch], [one.query for one in batch]
            return list(self._served.answer(turns, queries))
        except Exception as error:
            if len(batch) == 1:
                return [error]
            return [answer for one in batch for answer in self._answers([one])]
