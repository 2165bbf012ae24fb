"""The one loop: gathers the workers' questions, asks the actor, hands episodes to the sinks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.rollout.actor import Actor, Answer
from mist_jax.rollout.answering import Answering
from mist_jax.rollout.episode_spec import EpisodeSpec, Turn
from mist_jax.rollout.fleet import Fleet
from mist_jax.rollout.sinks.sink import Sink
from mist_jax.rollout.source import EpisodeSource


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
    for episode in run_episodes(source, fleet, actor):
        for sink in sinks:
            sink.put(episode)


def run_episodes(source: EpisodeSource, fleet: Fleet, actor: Actor) -> Iterator[Episode]:
    """Yields every episode as it ends, settled, in no fixed order.

    An episode depends on its own spec and the actor alone, not on what runs beside it. While the
    actor computes, and while an episode that was yielded is dealt with, the simulators go on; what
    they ask meanwhile is the next batch.

    Args:
        source: what to run, drawn one by one as workers fall idle.
        fleet: the simulators.
        actor: who acts; asked in a thread of its own, one batch at a time.

    Raises:
        UserError: bad input that a worker met; crashes of a simulator, and a policy whose actions
            are not numbers, are episodes instead.
    """
    running: dict[EpisodeKey, _Running] = {}
    questions: list[Turn] = []
    ended: list[Episode] = []

    def end(episode: Episode) -> None:
        answers = running.pop(episode.key).answers
        ended.append(source.settle(actor.finish(episode, answers)))

    with Answering(actor, fleet.wake) as answering:
        while True:
            while (idle := fleet.idle_tasks) and (spec := source.draw(idle[0])) is not None:
                running[spec.key] = _Running(spec)
                fleet.start(spec)
            yield from ended
            ended.clear()
            if not running:
                if not source.missing:
                    return
                if fleet.idle_tasks:
                    raise ValueError("the source waits for an episode to end, and none is running")
                # Else the workers of the episodes that have crashed are being replaced.
            for turn in fleet.wait():
                if turn.episode is not None:
                    end(turn.episode)
                    continue
                if turn.step == running[turn.key].spec.begins:
                    running[turn.key].answers.clear()
                questions.append(turn)
            for turn, answer in answering.take():
                if answer.error:
                    end(fleet.give_up(turn.key, answer.error))
                    continue
                running[turn.key].answers.append(answer)
                fleet.act(turn.key, answer.chunk)
            if questions and not answering.busy:
                # Waiting for others to fill the batch never paid: PERFORMANCE.md.
                batch, questions = questions[: actor.batch_size], questions[actor.batch_size :]
                answering.ask(batch, [len(running[turn.key].answers) for turn in batch])
