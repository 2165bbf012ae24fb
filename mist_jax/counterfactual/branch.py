"""One branch of a fork: the episode that follows one change of the action, and its name."""

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from mist_jax.counterfactual.forks import Fork
from mist_jax.counterfactual.offsets import OffsetSet
from mist_jax.record.episode import UNSTEERED, EpisodeKey

_ARM = re.compile(r"branch:(\d+):(.+)")


@dataclass(frozen=True, eq=False)
class Branch:
    """A fork, and the change (float32 [A], action units) that acts on its first queries."""

    fork: Fork
    offset: str
    change: np.ndarray

    @property
    def key(self) -> EpisodeKey:
        """The scene's, with the fork's query and the offset's name as its arm."""
        return dataclasses.replace(self.fork.scene, arm=f"branch:{self.fork.query}:{self.offset}")


def branches_of(forks: Iterable[Fork], offsets: OffsetSet) -> Iterator[Branch]:
    """Every branch, those of a fork next to each other; none that repeats another's key."""
    for fork in forks:
        for name in offsets.names:
            change = offsets.change(name, fork.own)
            if change is not None:
                yield Branch(fork, name, change)


def fork_and_offset(key: EpisodeKey) -> tuple[EpisodeKey, int, str]:
    """What a branch's key says: the unsteered episode's key, the fork's query, the offset's name.

    Raises:
        ValueError: it is no branch's key.
    """
    parts = _ARM.fullmatch(key.arm)
    if parts is None:
        raise ValueError(f"{key} names no branch: its arm is not branch:QUERY:OFFSET")
    return dataclasses.replace(key, arm=UNSTEERED), int(parts[1]), parts[2]
