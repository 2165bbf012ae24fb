"""The table that intents are fitted to: one row per fork, what became of each of its branches."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.counterfactual.branch import fork_and_offset
from mist_jax.errors import UserError
from mist_jax.intervention.site import DEFAULT_SITE, join_site
from mist_jax.record.contact import DEFAULT_HORIZON, DEFAULT_SHARE
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.record.event import first_events, first_normal, harmful_events
from mist_jax.risk.features import numbered
from mist_jax.risk.labels import driven_events
from mist_jax.signed import MOTIONS
from mist_jax.simulator.variation.levels import plain_suite

Harm = Literal["soon", "later"]
ENDS = ("soon", "later", "success")


@dataclass(frozen=True)
class BranchTable:
    """Forks whose every branch ended, each with the same K offsets, the zero one among them.

    `features` are the means over the tokens of each role of `reads`, at `place` and `layer` at the
    fork's query, side by side: what an intent sees there. `soon`: a harmful event begins within the
    horizon after the fork; `later`: any time after it. `motions` and `normal` are those of the
    first harmful event of the zero branch, `ahead` the control steps to it: none, nan and inf where
    there is none. They are for judging, and for learning the normal: no policy knows them.
    `rules` tells what became of branches whose change was another at every fork (`back`): nan where
    a fork has none.
    """

    model: str
    place: str
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
    rules: Mapping[str, np.ndarray]  # float32 [forks, 3]: soon, later, success
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

    def rows(self, keep: np.ndarray) -> "BranchTable":
        """Some of the forks, of `keep` bool or int."""
        per_fork = [one.name for one in fields(self) if one.name not in _SHARED]
        own = {name: getattr(self, name)[keep] for name in per_fork}
        rules = {name: ended[keep] for name, ended in self.rules.items()}
        return replace(self, **own, rules=rules)


_SHARED = (
    *("model", "place", "reads", "layer", "names", "offsets"),
    *("rules", "horizon", "left_out"),
)


def gather_branches(
    episodes: Iterable[Episode],
    offsets: Mapping[str, Sequence[float]],
    reads: Sequence[str],
    layer: int,
    *,
    place: str = DEFAULT_SITE,
    horizon: int = DEFAULT_HORIZON,
    share: float = DEFAULT_SHARE,
) -> BranchTable:
    """The table of a dataset of branches; `offsets` is name -> [A], as its setup has them.

    A fork of which a listed offset's branch is missing or crashed is left out. Branches of other
    names are `rules`. Features are taken of the zero branch.

    Raises:
        UserError: offsets without a zero, a site or layer that is not stored, episodes of several
            models or that are no branches, or no whole fork.
    """
    names = tuple(offsets)
    values = _offset_values(offsets)
    zero = names[int(np.flatnonzero((values == 0).all(axis=1))[0])]
    ends: dict[tuple[EpisodeKey, int], dict[str, np.ndarray]] = {}
    facts: dict[tuple[EpisodeKey, int], dict[str, Any]] = {}
    model = ""
    for episode in episodes:
        try:
            scene, query, name = fork_and_offset(episode.key)
        except ValueError as error:
            raise UserError(f"{error}; name a folder that collect_branches has written") from None
        model = model or episode.model
        if episode.model != model:
            raise UserError(f"{episode.key}: acted by {episode.model!r}, others by {model!r}")
        if episode.outcome == "crashed" or len(episode.queries) == 0:
            continue
        ends.setdefault((scene, query), {})[name] = _end(episode, horizon)
        if name == zero:
            facts[scene, query] = _facts(episode, reads, layer, place, share)
    kept = [fork for fork in sorted(ends) if set(names) <= set(ends[fork])]
    if not kept:
        raise UserError(
            f"no fork has an end of each of its {len(names)} branches; collect the branches to the "
            "end, or give the folder that collect_branches has written"
        )
    ended = np.asarray([[ends[fork][name] for name in names] for fork in kept], bool)
    other = sorted({name for fork in kept for name in ends[fork]} - set(names))
    nothing = np.full(len(ENDS), np.nan)
    columns = {name: np.stack([facts[fork][name] for fork in kept]) for name in facts[kept[0]]}
    scenes = [(plain_suite(key.suite), key.task_id, key.initial_state) for key, _ in kept]
    return BranchTable(
        model=model,
        place=place,
        reads=tuple(reads),
        layer=layer,
        names=names,
        offsets=values,
        **{name: ended[..., column] for column, name in enumerate(ENDS)},
        query=np.asarray([query for _, query in kept], np.int32),
        scene=numbered(scenes),
        task=numbered([scene[:2] for scene in scenes]),
        **columns,
        rules={
            name: np.stack([ends[fork].get(name, nothing) for fork in kept]).astype(np.float32)
            for name in other
        },
        horizon=horizon,
        left_out=len(ends) - len(kept),
    )


def fork_features(
    episode: Episode, row: int, reads: Sequence[str], layer: int, place: str = DEFAULT_SITE
) -> np.ndarray:
    """Float32 [F]: the roles of `reads` at `place` and `layer` at the episode's query `row`.

    Raises:
        UserError: a site or a layer is not stored.
    """
    queries, parts = episode.queries, []
    for site in (join_site(place, role) for role in reads):
        if layer not in queries.layers.get(site, ()):
            stored = ", ".join(f"{name} {list(at)}" for name, at in sorted(queries.layers.items()))
            raise UserError(
                f"{episode.key}: layer {layer} of {site} is not stored, but {stored or 'none'}"
            )
        at = queries.layers[site].index(layer)
        parts.append(np.asarray(queries.activations[site][row, at], np.float32))
    features = np.concatenate(parts)
    if not np.isfinite(features).all():
        raise UserError(f"{episode.key}: activations are not finite numbers")
    return features


def _offset_values(offsets: Mapping[str, Sequence[float]]) -> np.ndarray:
    dims, names = len(ACTION_DIMENSIONS), ", ".join(offsets)
    if any(len(value) != dims for value in offsets.values()):
        raise UserError(f"an offset has {dims} numbers, one for each action dimension: {names}")
    values = np.asarray(list(offsets.values()), np.float32).reshape(-1, dims)
    still = int((values == 0).all(axis=1).sum())
    if still != 1 or len(values) == 1:
        raise UserError(f"one offset of several must be zero, to compare with; here: {names}")
    return values


def _end(episode: Episode, horizon: int) -> np.ndarray:
    """Float [3], in the order of ENDS."""
    fork = int(episode.queries.step[0])
    begins = [event.first - fork for event in harmful_events(episode) if event.first >= fork]
    soon = any(steps < horizon for steps in begins)
    return np.asarray([soon, bool(begins), episode.outcome == "success"], float)


def _facts(
    episode: Episode, reads: Sequence[str], layer: int, place: str, share: float
) -> dict[str, Any]:
    fork = int(episode.queries.step[0])
    motions = np.zeros(MOTIONS, bool)
    for one in first_events([one for one in driven_events(episode, share) if one.first >= fork]):
        motions[list(one.motions)] = True
    contact = first_normal(episode, fork)
    begins, normal = contact or (np.inf, np.full(3, np.nan))
    return {
        "features": fork_features(episode, 0, reads, layer, place),
        "left": np.int32(episode.max_steps - fork),
        "step": np.int32(fork),
        "instruction": np.asarray(episode.instruction),
        "motions": motions,
        "normal": np.asarray(normal, np.float32),
        "ahead": np.float32(begins - fork),
    }
