"""The table that risk heads are trained on: one row per policy query, from many episodes."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mist_jax.errors import UserError
from mist_jax.record.contact import DEFAULT_HORIZON, DEFAULT_SHARE
from mist_jax.record.episode import UNSTEERED, Episode, EpisodeKey
from mist_jax.risk.labels import failure_labels, risk_labels


@dataclass(frozen=True)
class EpisodeFacts:
    """What is kept of an episode beside its queries."""

    key: EpisodeKey
    outcome: str
    clean: bool  # ran to its end without a harmful contact
    steps: int
    max_steps: int

    @property
    def task(self) -> tuple[str, int]:
        """Suite and task: task ids repeat across suites."""
        return self.key.suite, self.key.task_id

    @property
    def scene(self) -> tuple[str, int, int]:
        """(suite, task, initial state): the cluster of every interval, never split over folds."""
        return self.key.suite, self.key.task_id, self.key.initial_state


@dataclass(frozen=True)
class Samples:
    """Queries of all episodes, in the order of the episodes and within one in time."""

    site: str
    layers: tuple[int, ...]
    model: str
    activation: np.ndarray  # float [Q, L, D]
    risk: np.ndarray  # bool [Q, A]
    valid: np.ndarray  # bool [Q]
    sign: np.ndarray  # int8 [Q, A]
    steps_to_onset: np.ndarray  # float32 [Q, A]
    fail_within: np.ndarray  # bool [Q]
    step: np.ndarray  # int32 [Q]
    state: np.ndarray  # float32 [Q, 9]: end effector m, quaternion xyzw with w >= 0, fingers m
    action: np.ndarray  # float32 [Q, C * A]
    episode: np.ndarray  # int32 [Q], index into `episodes`
    episodes: tuple[EpisodeFacts, ...]
    horizon: int
    share: float

    def __len__(self) -> int:
        return len(self.step)

    @property
    def scene(self) -> np.ndarray:
        """int [Q]: an index of each query's (suite, task, initial state)."""
        return _index([facts.scene for facts in self.episodes])[self.episode]

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
    site: str,
    horizon: int = DEFAULT_HORIZON,
    share: float = DEFAULT_SHARE,
    arms: Collection[str] = (UNSTEERED,),
) -> Samples:
    """Stacks the queries of `episodes` that carry activations of `site`.

    Episodes without queries (an expert's) are left out, and those of other `arms`: what follows a
    query there is not what the policy alone would have done.

    Raises:
        UserError: nothing to learn from, a site that is not stored, or episodes that do not fit
            together (models, layers or widths).
    """
    facts: list[EpisodeFacts] = []
    columns: dict[str, list[np.ndarray]] = {}
    layers: tuple[int, ...] | None = None
    model = ""
    for episode in episodes:
        queries = episode.queries
        if len(queries) == 0 or len(episode.steps) == 0 or episode.key.arm not in arms:
            continue
        if site not in queries.activations:
            stored = ", ".join(sorted(queries.activations)) or "none"
            raise UserError(f"{episode.key}: no activations of {site!r}; stored sites: {stored}")
        these = tuple(queries.layers[site])
        if layers is None:
            layers, model = these, episode.model
        if these != layers:
            raise UserError(f"{episode.key}: layers {these} stored, other episodes have {layers}")
        if episode.model != model:
            raise UserError(
                f"{episode.key}: acted by {episode.model!r}, other episodes by {model!r}; "
                "collect one model per dataset"
            )
        for name, value in _columns(episode, site, horizon, share, len(facts)).items():
            columns.setdefault(name, []).append(value)
        facts.append(_facts(episode))
    if layers is None:
        raise UserError(
            f"the dataset has no policy queries of the arm {' or '.join(arms)}: collect episodes "
            "with a policy"
        )
    return Samples(
        site=site,
        layers=layers,
        model=model,
        **_stack(columns),
        episodes=tuple(facts),
        horizon=horizon,
        share=share,
    )


def _columns(
    episode: Episode, site: str, horizon: int, share: float, index: int
) -> dict[str, np.ndarray]:
    queries, steps = episode.queries, episode.steps
    labels = risk_labels(episode, horizon, share)
    # A simulator that dies may lose the state of the last query's step.
    at = np.minimum(queries.step, len(steps) - 1)
    quaternion = steps.eef_quat[at]
    quaternion = quaternion * np.where(quaternion[:, 3:] < 0, -1.0, 1.0)
    state = np.concatenate([steps.eef_pos[at], quaternion, steps.gripper_qpos[at]], axis=1)
    return {
        "activation": queries.activations[site],
        "risk": labels.risk,
        "valid": labels.valid,
        "sign": labels.sign,
        "steps_to_onset": labels.steps_to_onset,
        "fail_within": failure_labels(episode, horizon).fail_within,
        "step": np.asarray(queries.step, np.int32),
        "state": state.astype(np.float32),
        "action": queries.raw_actions.reshape(len(queries), -1).astype(np.float32),
        "episode": np.full(len(queries), index, np.int32),
    }


def _facts(episode: Episode) -> EpisodeFacts:
    return EpisodeFacts(
        key=episode.key,
        outcome=episode.outcome,
        clean=not episode.collided and episode.outcome != "crashed",
        steps=len(episode.steps),
        max_steps=episode.max_steps,
    )


def _stack(columns: Mapping[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    widths = {part.shape[1:] for part in columns["activation"]}
    if len(widths) > 1:
        raise UserError(f"activations of different widths in one dataset: {sorted(widths)}")
    stacked = {name: np.concatenate(parts) for name, parts in columns.items()}
    if not np.isfinite(stacked["activation"]).all():
        raise UserError("the dataset holds activations that are not finite numbers")
    return stacked


def _index(labels: list[tuple]) -> np.ndarray:
    order = {label: number for number, label in enumerate(sorted(set(labels)))}
    return np.asarray([order[label] for label in labels], np.int64)
