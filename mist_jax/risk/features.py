"""The table that risk heads are trained on: one row per policy query, from many episodes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mist_jax.errors import UserError
from mist_jax.record.contact import DEFAULT_HORIZON, DEFAULT_SHARE
from mist_jax.record.episode import UNSTEERED, Episode, EpisodeKey
from mist_jax.record.event import harmful_events
from mist_jax.risk.labels import EventLabels, Target, event_labels, failure_labels
from mist_jax.simulator.variation.levels import plain_suite


@dataclass(frozen=True)
class EpisodeFacts:
    """What is kept of an episode beside its queries."""

    key: EpisodeKey
    instruction: str
    outcome: str
    clean: bool  # ran to its end without a harmful contact
    steps: int
    max_steps: int
    first_event: float = np.inf  # control step of the first harmful event; inf where none is

    @property
    def task(self) -> tuple[str, int]:
        """Suite and task: task ids repeat across suites."""
        return self.key.suite, self.key.task_id

    @property
    def scene(self) -> tuple[str, int, int]:
        """(plain suite, task, initial state): the placement, however the suite varies it.

        It is the cluster of every interval, never split over folds.
        """
        return plain_suite(self.key.suite), self.key.task_id, self.key.initial_state


@dataclass(frozen=True)
class StoredSite:
    """Activations of one site: `values` [Q, L, D], float16 or float32 as the dataset keeps them.

    `layers` names each L. Whoever computes with float16 first makes float32 of what it takes.
    """

    layers: tuple[int, ...]
    values: np.ndarray


@dataclass(frozen=True)
class Samples:
    """Queries of all episodes, in the order of the episodes and within one in time.

    `target` says which events `risk`, `valid` and so on are about; `labels` holds both kinds.
    """

    model: str
    site: str  # the main one: what `activation` and `layers` are of
    sites: Mapping[str, StoredSite]
    labels: Mapping[Target, EventLabels]
    target: Target
    fail_within: np.ndarray  # bool [Q]
    step: np.ndarray  # int32 [Q]
    state: np.ndarray  # float32 [Q, 9]: end effector m, quaternion xyzw with w >= 0, fingers m
    action: np.ndarray  # float32 [Q, C * A]
    motion: np.ndarray  # float32 [Q, A]: mean action executed since the query before; 0 at first
    since_contact: np.ndarray  # float32 [Q]: steps since the last harmful contact, inf if none
    episode: np.ndarray  # int32 [Q], index into `episodes`
    episodes: tuple[EpisodeFacts, ...]
    horizon: int
    share: float
    overlap: np.ndarray | None = None  # float32 [Q, C, A], as in Queries; None: not collected
    spread: np.ndarray | None = None  # float32 [Q, A], as in Queries; None: not collected

    def __len__(self) -> int:
        return len(self.step)

    def about(self, target: Target) -> "Samples":
        """The same queries, labelled with the first event of each episode, or with all."""
        return replace(self, target=target)

    @property
    def layers(self) -> tuple[int, ...]:
        """Stored layers of the main site."""
        return self.sites[self.site].layers

    @property
    def activation(self) -> np.ndarray:
        """float16 or float32 [Q, L, D], as stored, of the main site."""
        return self.sites[self.site].values

    @property
    def label(self) -> EventLabels:
        """Labels of the target."""
        return self.labels[self.target]

    @property
    def risk(self) -> np.ndarray:
        """bool [Q, M]: signed motion m drives an event within the horizon."""
        return self.label.risk

    @property
    def valid(self) -> np.ndarray:
        """bool [Q]: `risk` is known and there was something to forecast."""
        return self.label.valid

    @property
    def task(self) -> np.ndarray:
        """int [Q]: an index of each query's (suite, task)."""
        return numbered([facts.task for facts in self.episodes])[self.episode]

    @property
    def scene(self) -> np.ndarray:
        """int [Q]: an index of each query's (suite, task, initial state)."""
        return numbered([facts.scene for facts in self.episodes])[self.episode]

    @property
    def previous(self) -> np.ndarray:
        """int [Q]: the row of the same episode's query before; its own at an episode's first."""
        rows = np.arange(len(self))
        first = np.diff(self.episode, prepend=-1) != 0
        return np.where(first, rows, rows - 1)

    @property
    def clean(self) -> np.ndarray:
        """bool [episodes]: no harmful contact, and no crash."""
        return np.asarray([facts.clean for facts in self.episodes])

    @property
    def ended(self) -> np.ndarray:
        """bool [episodes]: did not crash, so that the outcome means something."""
        return np.asarray([facts.outcome != "crashed" for facts in self.episodes])

    @property
    def failed(self) -> np.ndarray:
        """bool [episodes]: ended in failure."""
        return np.asarray([facts.outcome == "failure" for facts in self.episodes])


def gather_samples(
    episodes: Iterable[Episode],
    sites: str | Sequence[str],
    horizon: int = DEFAULT_HORIZON,
    share: float = DEFAULT_SHARE,
    arms: Collection[str] = (UNSTEERED,),
    target: Target = "first",
) -> Samples:
    """Stacks the queries of `episodes` that carry activations of `sites`, the main one first.

    Episodes without queries (an expert's) are left out, and those of other `arms`: what follows a
    query there is not what the policy alone would have done. The memory needed is that of the
    table and of one site a second time, at the stored precision, if `episodes` come one at a time.

    Raises:
        UserError: nothing to learn from, a site that is not stored, or episodes that do not fit
            together (models, layers or widths).
    """
    sites = (sites,) if isinstance(sites, str) else tuple(sites)
    facts: list[EpisodeFacts] = []
    columns: dict[str, list[np.ndarray]] = {}
    probes: dict[str, list[np.ndarray | None]] = {"overlap": [], "spread": []}
    activations: dict[str, list[np.ndarray]] = {site: [] for site in sites}
    labels: dict[Target, list[EventLabels]] = {"first": [], "all": []}
    layers: dict[str, tuple[int, ...]] = {}
    model = ""
    for episode in episodes:
        queries = episode.queries
        if len(queries) == 0 or len(episode.steps) == 0 or episode.key.arm not in arms:
            continue
        model = model or episode.model
        if episode.model != model:
            raise UserError(
                f"{episode.key}: acted by {episode.model!r}, other episodes by {model!r}; "
                "collect one model per dataset"
            )
        for site, parts in activations.items():
            if site not in queries.activations:
                stored = ", ".join(sorted(queries.activations)) or "none"
                raise UserError(
                    f"{episode.key}: no activations of {site!r}; stored sites: {stored}"
                )
            these = tuple(queries.layers[site])
            if these != layers.setdefault(site, these):
                raise UserError(
                    f"{episode.key}: layers {these} of {site} stored, other episodes have "
                    f"{layers[site]}"
                )
            if not np.isfinite(queries.activations[site]).all():
                raise UserError(f"{episode.key}: activations of {site} are not finite numbers")
            parts.append(queries.activations[site])
        for kind, parts in labels.items():
            parts.append(event_labels(episode, kind, horizon, share))
        for name, value in _columns(episode, horizon, len(facts)).items():
            columns.setdefault(name, []).append(value)
        for name, found in probes.items():
            found.append(getattr(queries, name))
        facts.append(_facts(episode))
    if not facts:
        raise UserError(
            f"the dataset has no policy queries of the arm {' or '.join(arms)}: collect episodes "
            "with a policy"
        )
    return Samples(
        model=model,
        site=sites[0],
        sites={
            site: StoredSite(layers[site], _whole(parts)) for site, parts in activations.items()
        },
        labels={kind: EventLabels.joined(parts) for kind, parts in labels.items()},
        target=target,
        **{name: np.concatenate(parts) for name, parts in columns.items()},
        episodes=tuple(facts),
        horizon=horizon,
        share=share,
        overlap=_of_all(probes["overlap"]),
        spread=_of_all(probes["spread"]),
    )


def _of_all(parts: list[np.ndarray | None]) -> np.ndarray | None:
    """The parts as one array; None where an episode lacks its own."""
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if len(there) == len(parts) else None


def _columns(episode: Episode, horizon: int, index: int) -> dict[str, np.ndarray]:
    queries, steps = episode.queries, episode.steps
    # A simulator that dies may lose the state of the last query's step.
    at = np.minimum(queries.step, len(steps) - 1)
    quaternion = steps.eef_quat[at]
    quaternion = quaternion * np.where(quaternion[:, 3:] < 0, -1.0, 1.0)
    state = np.concatenate([steps.eef_pos[at], quaternion, steps.gripper_qpos[at]], axis=1)
    return {
        "fail_within": failure_labels(episode, horizon).fail_within,
        "step": np.asarray(queries.step, np.int32),
        "state": state.astype(np.float32),
        "action": queries.raw_actions.reshape(len(queries), -1).astype(np.float32),
        "motion": _motion(episode),
        "since_contact": _since_contact(episode),
        "episode": np.full(len(queries), index, np.int32),
    }


def _motion(episode: Episode) -> np.ndarray:
    """Float32 [Q, A]: mean of the actions executed since the query before, zero at the first."""
    action, step = np.asarray(episode.steps.action, np.float64), episode.queries.step
    total = np.concatenate([np.zeros((1, action.shape[1])), np.cumsum(action, axis=0)])
    end = np.minimum(step, len(action))
    start = np.concatenate([end[:1], end[:-1]])
    return ((total[end] - total[start]) / np.maximum(end - start, 1)[:, None]).astype(np.float32)


def _since_contact(episode: Episode) -> np.ndarray:
    """Float32 [Q]: control steps since the last harmful contact before each query; inf if none."""
    harmful = np.asarray(sorted(c.step for c in episode.contacts if c.harmful), np.float64)
    step = np.asarray(episode.queries.step, np.float64)
    before = np.searchsorted(harmful, step) - 1  # the last that is earlier than the query's step
    last = harmful[np.maximum(before, 0)] if len(harmful) else np.zeros(len(step))
    return np.where(before >= 0, step - last, np.inf).astype(np.float32)


def _facts(episode: Episode) -> EpisodeFacts:
    return EpisodeFacts(
        key=episode.key,
        instruction=episode.instruction,
        outcome=episode.outcome,
        clean=not episode.collided and episode.outcome != "crashed",
        steps=len(episode.steps),
        max_steps=episode.max_steps,
        first_event=min((event.first for event in harmful_events(episode)), default=np.inf),
    )


def _whole(parts: list[np.ndarray]) -> np.ndarray:
    """The parts as one array; each goes as soon as it is copied, so that memory holds one copy."""
    widths = {part.shape[1:] for part in parts}
    if len(widths) > 1:
        raise UserError(f"activations of different widths in one dataset: {sorted(widths)}")
    count, dtype = sum(len(part) for part in parts), np.result_type(*{one.dtype for one in parts})
    whole = np.empty((count, *widths.pop()), dtype)
    parts.reverse()
    first = 0
    while parts:
        part = parts.pop()
        whole[first : first + len(part)] = part
        first += len(part)
    return whole


def numbered(names: Sequence[tuple[str | int, ...]]) -> np.ndarray:
    """int64 [len(names)]: the place of each name among the different ones, sorted."""
    place = {name: index for index, name in enumerate(sorted(set(names)))}
    return np.asarray([place[name] for name in names], np.int64)
