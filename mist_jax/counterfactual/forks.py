"""Where the world is forked: before an episode's first harm, or at some query of a clean one."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mist_jax.counterfactual.trace import trace
from mist_jax.record.episode import UNSTEERED, Episode, EpisodeKey
from mist_jax.record.event import first_events, harmful_events

# Queries before the first harmful event, the most telling first: one chunk ahead there is time.
LEADS = (1, 0, 2)

Reason = Literal["harm ahead", "drawn", "riskiest"]


@dataclass(frozen=True, eq=False)
class Fork:
    """One query of an unsteered episode, from whose state branches run.

    `prefix` float32 [N, A] is what the episode asked for in the steps before it, `own` float32
    [C, A] in the chunk that follows (fewer rows where it ended there). `start` and `whole` are the
    episode's traces, before the fork and to its end.
    """

    scene: EpisodeKey  # of the unsteered episode
    query: int  # its index in that episode
    why: Reason
    prefix: np.ndarray
    own: np.ndarray
    start: str
    whole: str

    @property
    def step(self) -> int:
        """The control step at which the query is asked."""
        return len(self.prefix)


def forks_of(episode: Episode, most: int, seed: int) -> tuple[Fork, ...]:
    """At most `most` forks of an unsteered episode, the most telling first; none of a crashed one.

    Of an episode with harm: the queries 1, 0 and 2 before its first harmful event, where 0 is the
    last one that could still act on it; none if a perturbation had a hand in that event. Of a clean
    one: a query drawn by `seed` and the episode's key, and that of highest stored risk.
    """
    if episode.outcome == "crashed" or episode.key.arm != UNSTEERED or not len(episode.queries):
        return ()
    first = first_events(harmful_events(episode))
    wanted: list[tuple[int, Reason]] = []
    if not first:
        draw = _generator(episode.key, seed).integers(len(episode.queries))
        wanted.append((int(draw), "drawn"))
        if episode.queries.risk is not None:
            wanted.append((int(episode.queries.risk.max(axis=1).argmax()), "riskiest"))
    elif not any(event.exogenous for event in first):
        asked = episode.queries.step
        last = int(np.searchsorted(asked, first[0].first, side="right")) - 1
        wanted = [(last - lead, "harm ahead") for lead in LEADS if last >= lead]
    chosen: dict[int, Reason] = {}
    for query, why in wanted[:most]:
        chosen.setdefault(query, why)
    return tuple(_fork(episode, query, why) for query, why in chosen.items())


def in_drawn_order(forks: Iterable[Sequence[Fork]], seed: int) -> tuple[Fork, ...]:
    """The forks of several episodes, those of one together: its first so many are a fair sample.

    The order depends on `seed` and the episodes' keys alone.
    """
    several = [of_one for of_one in forks if of_one]
    ordered = sorted(several, key=lambda of_one: _digest(of_one[0].scene, seed))
    return tuple(fork for of_one in ordered for fork in of_one)


def _fork(episode: Episode, query: int, why: Reason) -> Fork:
    step = int(episode.queries.step[query])
    commanded = np.asarray(episode.steps.commanded, np.float32)
    return Fork(
        episode.key,
        query,
        why,
        prefix=commanded[:step],
        own=commanded[step : step + episode.queries.raw_actions.shape[1]],
        start=trace(episode, step),
        whole=trace(episode),
    )


def _digest(key: EpisodeKey, seed: int) -> bytes:
    return hashlib.sha256(f"fork/{key}/{seed}".encode()).digest()


def _generator(key: EpisodeKey, seed: int) -> np.random.Generator:
    return np.random.default_rng(list(_digest(key, seed)))
