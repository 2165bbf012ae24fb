"""The table that intents are fitted to: one row per fork, what became of each of its branches."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.errors import UserError
from mist_jax.record.contact import DEFAULT_HORIZON, DEFAULT_SHARE
from mist_jax.record.episode import Episode
from mist_jax.record.event import first_events, harmful_events
from mist_jax.risk.features import numbered
from mist_jax.risk.labels import driven_events
from mist_jax.signed import MOTIONS

BRANCH = "branch"  # the arm of a branch is branch:<query>:<offset name>
Harm = Literal["soon", "later"]


@dataclass(frozen=True)
class BranchTable:
    """Forks whose every branch ended, each with the same K offsets, the zero one among them.

    `features` are the sites of `reads` at `layer` at the fork's query, side by side: what an intent
    sees there. `soon`: a harmful event begins within the horizon after the fork; `later`: any time
    after it. `motions` and `normal` are those of the first harmful event of the zero branch,
    `ahead` the control steps to it: none, nan and inf where there is none. They are for judging
    only: no policy knows them.
    """

    model: str
    reads: tuple[str, ...]
    layer: int
    names: tuple[str, ...]  # of the offsets
    offsets: np.ndarray  # float32 [K, A], executed action units per step
    features: np.ndarray  # float32 [forks, F]
    soon: np.ndarray  # bool [forks, K]
    later: np.ndarray  # bool [forks, K]
    success: np.ndarray  # bool [forks, K]
    left: np.ndarray  # int32 [forks]: control steps from the fork to the time limit
    step: np.ndarray  # int32 [forks]: control step of the fork
    query: np.ndarray  # int32 [forks], as the arm names it
    scene: np.ndarray  # int64 [forks]: an index of (suite, task, initial state)
    task: np.ndarray  # int64 [forks]: an index of (suite, task)
    instruction: np.ndarray  # text [forks]
    motions: np.ndarray  # bool [forks, M]
    normal: np.ndarray  # float32 [forks, 3], from the obstacle to the robot side, world
    ahead: np.ndarray  # float32 [forks]
    horizon: int
    left_out: int  # forks without an end of every branch

    def __len__(self) -> int:
        return len(self.features)

    @property
    def zero(self) -> int:
        """The place of the offset that changes nothing."""
        return int(np.flatnonzero((self.offsets == 0).all(axis=1))[0])

    @property
    def size(self) -> np.ndarray:
        """float32 [A]: the largest offset along each action dimension; 1 where there is none."""
        largest = np.abs(self.offsets).max(axis=0)
        return np.where(largest > 0, largest, 1).astype(np.float32)

    def harm(self, which: Harm) -> np.ndarray:
        """bool [forks, K]."""
        return self.soon if which == "soon" else self.later

    def rows(self, keep: np.ndarray) -> "BranchTable":
        """Some of the forks, of `keep` bool or int."""
        own = {name: getattr(self, name)[keep] for name in _PER_FORK}
        return replace(self, **own)


_PER_FORK = tuple(
    one.name
    for one in fields(BranchTable)
    if one.name not in ("model", "reads", "layer", "names", "offsets", "horizon", "left_out")
)


@dataclass(frozen=True)
class _Branch:
    """What is kept of one episode."""

    soon: bool
    later: bool
    success: bool
    crashed: bool


def parse_arm(arm: str) -> tuple[int, str] | None:
    """Query and name of the offset of a branch's arm, `branch:<query>:<offset name>`; None of any
    other arm.
    """
    kind, _, rest = arm.partition(":")
    query, _, name = rest.partition(":")
    return (int(query), name) if kind == BRANCH and query.isdecimal() and name else None


def gather_branches(
    episodes: Iterable[Episode],
    offsets: Mapping[str, Sequence[float]],
    reads: Sequence[str],
    layer: int,
    horizon: int = DEFAULT_HORIZON,
    share: float = DEFAULT_SHARE,
) -> BranchTable:
    """The table of a dataset of branches; `offsets` is name -> [A], as its setup has them.

    Branches of offsets that are not listed are passed over; a fork of which a branch is missing or
    crashed is left out. Features are taken of the zero branch.

    Raises:
        UserError: offsets without a zero, a site or layer that is not stored, or no whole fork.
    """
    names = tuple(offsets)
    values = np.asarray([offsets[name] for name in names], np.float32)
    if values.ndim != 2 or values.shape[1] != len(ACTION_DIMENSIONS):
        raise UserError(f"offsets must have {len(ACTION_DIMENSIONS)} numbers each: {names}")
    still = np.flatnonzero((values == 0).all(axis=1))
    if len(still) != 1:
        raise UserError(f"one offset must be zero, to compare with; of {names} {len(still)} are")
    zero = names[still[0]]
    ends: dict[tuple, dict[str, _Branch]] = {}
    facts: dict[tuple, dict] = {}
    model = ""
    for episode in episodes:
        branch = parse_arm(episode.key.arm)
        if branch is None or branch[1] not in offsets or len(episode.queries) == 0:
            continue
        model = model or episode.model
        if episode.model != model:
            raise UserError(f"{episode.key}: acted by {episode.model!r}, others by {model!r}")
        key = episode.key
        fork = (key.suite, key.task_id, key.initial_state, key.seed, branch[0])
        ends.setdefault(fork, {})[branch[1]] = _end(episode, horizon)
        if branch[1] == zero:
            facts[fork] = _facts(episode, branch[0], reads, layer, share)
    kept = [
        fork
        for fork, of in sorted(ends.items())
        if len(of) == len(names) and not any(one.crashed for one in of.values())
    ]
    if not kept:
        raise UserError(
            f"no fork has an end of each of its {len(names)} branches; collect the branches to the "
            "end, or give the folder that collect_branches has written"
        )

    def outcome(name: str) -> np.ndarray:
        return np.asarray([[getattr(ends[fork][one], name) for one in names] for fork in kept])

    columns = {name: np.stack([facts[fork][name] for fork in kept]) for name in facts[kept[0]]}
    return BranchTable(
        model=model,
        reads=tuple(reads),
        layer=layer,
        names=names,
        offsets=values,
        soon=outcome("soon"),
        later=outcome("later"),
        success=outcome("success"),
        scene=numbered([fork[:3] for fork in kept]),
        task=numbered([fork[:2] for fork in kept]),
        **columns,
        horizon=horizon,
        left_out=len(ends) - len(kept),
    )


def fork_features(episode: Episode, row: int, reads: Sequence[str], layer: int) -> np.ndarray:
    """Float32 [F]: the sites of `reads` at `layer` at the episode's query `row`, side by side.

    Raises:
        UserError: a site or a layer is not stored.
    """
    queries, parts = episode.queries, []
    for site in reads:
        if layer not in queries.layers.get(site, ()):
            stored = ", ".join(f"{name} {list(at)}" for name, at in sorted(queries.layers.items()))
            raise UserError(
                f"{episode.key}: layer {layer} of {site} is not stored; there are {stored or 'none'}"
            )
        at = queries.layers[site].index(layer)
        parts.append(np.asarray(queries.activations[site][row, at], np.float32))
    return np.concatenate(parts)


def _end(episode: Episode, horizon: int) -> _Branch:
    fork = int(episode.queries.step[0])
    begins = [event.first - fork for event in harmful_events(episode) if event.first >= fork]
    return _Branch(
        soon=any(steps < horizon for steps in begins),
        later=bool(begins),
        success=episode.outcome == "success",
        crashed=episode.outcome == "crashed",
    )


def _facts(episode: Episode, query: int, reads: Sequence[str], layer: int, share: float) -> dict:
    fork = int(episode.queries.step[0])
    motions, normal, ahead = np.zeros(MOTIONS, bool), np.full(3, np.nan, np.float32), np.inf
    first = first_events([one for one in driven_events(episode, share) if one.first >= fork])
    for one in first:
        motions[list(one.motions)] = True
    onsets = first_events([one for one in harmful_events(episode) if one.first >= fork])
    if onsets:
        normal = np.mean([np.asarray(one.onset.normal, np.float64) for one in onsets], axis=0)
        ahead = onsets[0].first - fork
    return {
        "features": fork_features(episode, 0, reads, layer),
        "left": np.int32(episode.max_steps - fork),
        "step": np.int32(fork),
        "query": np.int32(query),
        "instruction": np.asarray(episode.instruction),
        "motions": motions,
        "normal": np.asarray(normal, np.float32),
        "ahead": np.float32(ahead),
    }
