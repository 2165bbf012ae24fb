"""The actor in a thread of its own: simulators are looked after while it computes."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from mist_jax.rollout.actor import Actor, Answer
from mist_jax.rollout.episode_spec import Turn


class Answering:
    """One batch at a time; use as a context manager, which waits for the batch that is asked."""

    def __init__(self, actor: Actor, when_done: Callable[[], None]):
        """`when_done` is called, by another thread, when the answers to a batch are there."""
        self._actor, self._when_done = actor, when_done
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="actor")
        self._turns: Sequence[Turn] = ()
        self._asked: Future[Sequence[Answer]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    @property
    def busy(self) -> bool:
        """Whether a batch was asked, and its answers not taken yet."""
        return self._asked is not None

    def ask(self, turns: Sequence[Turn], queries: Sequence[int]) -> None:
        """Begins a batch; no other may be under way."""
        assert self._asked is None
        self._turns = turns
        self._asked = self._thread.submit(self._actor.answer, turns, queries)
        self._asked.add_done_callback(lambda _: self._when_done())

    def take(self) -> list[tuple[Turn, Answer]]:
        """The turns of the batch with their answers, once and if they are there."""
        if self._asked is None or not self._asked.done():
            return []
        answers, self._asked = self._asked.result(), None
        return list(zip(self._turns, answers, strict=True))
