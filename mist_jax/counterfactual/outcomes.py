"""What the branches of a dataset came to, per offset, and whether they repeat what was."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mist_jax.counterfactual.branch import fork_and_offset
from mist_jax.counterfactual.forks import Fork
from mist_jax.counterfactual.offsets import ZERO
from mist_jax.counterfactual.trace import trace
from mist_jax.record.contact import DEFAULT_HORIZON
from mist_jax.record.episode import Episode
from mist_jax.record.event import harmful_events


@dataclass
class OffsetCount:
    """Branches of one offset: all, those with harm soon (within the horizon) and at all, successes.

    Crashed ones are counted in none of them.
    """

    branches: int = 0
    harm_soon: int = 0
    harm: int = 0
    success: int = 0


@dataclass
class BranchOutcomes:
    """Counts by what lay ahead of the fork ("harm ahead", "clean") and by offset.

    `begun_alike`: branches whose state at the fork is the unsteered episode's, bit for bit, of
    `checked`; `repeated`: zero-offset branches that are that episode to the end, of `zero`.
    """

    horizon: int
    counts: dict[str, dict[str, OffsetCount]] = field(default_factory=dict)
    checked: int = 0
    begun_alike: int = 0
    zero: int = 0
    repeated: int = 0

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


def count_outcomes(
    episodes: Iterable[Episode], forks: Iterable[Fork], horizon: int = DEFAULT_HORIZON
) -> BranchOutcomes:
    """Of the branches of these forks; other episodes are not counted.

    Harm is a harmful event that begins at the fork's step or later.
    """
    known: Mapping[tuple, Fork] = {(fork.scene, fork.query): fork for fork in forks}
    outcomes = BranchOutcomes(horizon)
    for episode in episodes:
        scene, query, offset = fork_and_offset(episode.key)
        fork = known.get((scene, query))
        if fork is None or episode.outcome == "crashed":
            continue
        ahead = outcomes.counts.setdefault(
            "harm ahead" if fork.why == "harm ahead" else "clean", {}
        )
        count = ahead.setdefault(offset, OffsetCount())
        later = [event.first for event in harmful_events(episode) if event.first >= fork.step]
        count.branches += 1
        count.harm_soon += any(first < fork.step + horizon for first in later)
        count.harm += bool(later)
        count.success += episode.outcome == "success"
        outcomes.checked += 1
        outcomes.begun_alike += trace(episode, fork.step) == fork.start
        if offset == ZERO:
            outcomes.zero += 1
            outcomes.repeated += trace(episode) == fork.whole
    return outcomes
