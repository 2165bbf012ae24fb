"""Runs episodes: gathers the workers' questions, asks the policy, hands the answers back."""

import dataclasses
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.rollout.batcher import Answer, Batcher
from mist_jax.rollout.episode_spec import EpisodeSpec, Turn
from mist_jax.rollout.fleet import Fleet

# A question waits for others to share its batch, but not longer than this.
_LONGEST_WAIT = 0.25  # s


@dataclass
class _Running:
    """An episode under way, and the answers that it was given so far."""

    spec: EpisodeSpec
    answers: list[Answer] = field(default_factory=list)


def run_episodes(
    specs: Iterable[EpisodeSpec | None], fleet: Fleet, batcher: Batcher | None = None
) -> Iterator[Episode]:
    """Yields every episode as it ends, in no fixed order.

    An episode depends on its own spec and the policy alone, not on what runs beside it.

    Args:
        specs: what to run, drawn one by one as workers fall idle. None means "nothing before
            another episode has ended".
        fleet: the simulators.
        batcher: asks the policy; None where the expert alone acts.

    Raises:
        UserError: bad input that a worker met; crashes of a simulator are episodes instead.
    """
    source = iter(specs)
    running: dict[EpisodeKey, _Running] = {}
    questions: list[Turn] = []
    asked_at = 0.0
    exhausted = False
    while True:
        while fleet.idle and not exhausted:
            try:
                spec = next(source)
            except StopIteration:
                exhausted = True
                break
            if spec is None:
                break
            running[spec.key] = _Running(spec)
            fleet.start(spec)
        if not running:
            if exhausted:
                return
            raise ValueError("the specs wait for an episode to end, and none is running")
        patience = None
        if batcher is not None and questions:
            due = asked_at + min(batcher.latency, _LONGEST_WAIT)
            patience = max(due - time.monotonic(), 0.0)
        for turn in fleet.wait(patience):
            if turn.episode is not None:
                episode = running.pop(turn.key)
                yield _with_queries(turn.episode, episode.answers, batcher)
                continue
            if turn.step == 0:
                running[turn.key].answers.clear()
            if batcher is None:
                fleet.act(turn.key, None)
                continue
            if not questions:
                asked_at = time.monotonic()
            questions.append(turn)
        if batcher is None or not questions:
            continue
        waited = time.monotonic() - asked_at >= min(batcher.latency, _LONGEST_WAIT)
        if waited or not fleet.computing or len(questions) >= batcher.batch_size:
            batch, questions = questions[: batcher.batch_size], questions[batcher.batch_size :]
            indices = [len(running[turn.key].answers) for turn in batch]
            for turn, answer in zip(batch, batcher.ask(batch, indices), strict=True):
                running[turn.key].answers.append(answer)
                fleet.act(turn.key, answer.chunk)


def _with_queries(episode: Episode, answers: list[Answer], batcher: Batcher | None) -> Episode:
    if batcher is None or episode.outcome == "crashed":
        return episode
    queries = dataclasses.replace(batcher.queries(answers), expert=episode.queries.expert)
    return dataclasses.replace(episode, queries=queries)
