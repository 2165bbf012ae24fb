"""The one loop: gathers the workers' questions, asks the actor, hands episodes to the sinks."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.rollout.actor import Actor, Answer
from mist_jax.rollout.episode_spec import EpisodeSpec, Turn
from mist_jax.rollout.fleet import Fleet
from mist_jax.rollout.sinks.sink import Sink
from mist_jax.rollout.source import EpisodeSource

# A question waits for others to share its batch, but not longer than this.
_LONGEST_WAIT = 0.25  # s


@dataclass
class _Running:
    """An episode under way, and the answers that it was given so far."""

    spec: EpisodeSpec
    answers: list[Answer] = field(default_factory=list)


def run(source: EpisodeSource, fleet: Fleet, actor: Actor, sinks: Sequence[Sink]) -> None:
    """Runs what `source` lacks and hands every episode, as it ends, to each of `sinks` in turn.

    Raises:
        UserError: bad input that a worker met, or what a sink refuses; crashes of a simulator are
            episodes instead.
    """
    for ended in run_episodes(source, fleet, actor):
        episode = source.settle(ended)
        for sink in sinks:
            sink.put(episode)


def run_episodes(
    specs: Iterable[EpisodeSpec | None], fleet: Fleet, actor: Actor
) -> Iterator[Episode]:
    """Yields every episode as it ends, in no fixed order.

    An episode depends on its own spec and the actor alone, not on what runs beside it.

    Args:
        specs: what to run, drawn one by one as workers fall idle. None means "nothing before
            another episode has ended".
        fleet: the simulators.
        actor: who acts.

    Raises:
        UserError: bad input that a worker met; crashes of a simulator, and a policy whose actions
            are not numbers, are episodes instead.
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
            if fleet.idle:
                raise ValueError("the specs wait for an episode to end, and none is running")
            # Else the workers of the episodes that have crashed are being replaced.
        patience = None
        if questions:
            due = asked_at + min(actor.latency, _LONGEST_WAIT)
            patience = max(due - time.monotonic(), 0.0)
        for turn in fleet.wait(patience):
            if turn.episode is not None:
                yield actor.finish(turn.episode, running.pop(turn.key).answers)
                continue
            if turn.step == running[turn.key].spec.begins:
                running[turn.key].answers.clear()
            if not questions:
                asked_at = time.monotonic()
            questions.append(turn)
        if not questions:
            continue
        waited = time.monotonic() - asked_at >= min(actor.latency, _LONGEST_WAIT)
        if waited or not fleet.computing or len(questions) >= actor.batch_size:
            batch, questions = questions[: actor.batch_size], questions[actor.batch_size :]
            indices = [len(running[turn.key].answers) for turn in batch]
            failed: list[Episode] = []
            for turn, answer in zip(batch, actor.answer(batch, indices), strict=True):
                if answer.error:
                    failed.append(fleet.give_up(turn.key, answer.error))
                    continue
                running[turn.key].answers.append(answer)
                fleet.act(turn.key, answer.chunk)
            for episode in failed:
                yield actor.finish(episode, running.pop(episode.key).answers)
