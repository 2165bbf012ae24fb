"""Which way is off the obstacle: ridge regression of the first contact's normal on activations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mist_jax.counterfactual.fitting.components import Components, principal_components
from mist_jax.counterfactual.fitting.table import BranchTable, fork_features
from mist_jax.errors import UserError
from mist_jax.intervention.intent.along_normal import AlongNormal
from mist_jax.intervention.site import DEFAULT_SITE
from mist_jax.record.contact import DEFAULT_HORIZON
from mist_jax.record.episode import UNSTEERED, Episode
from mist_jax.record.event import first_normal
from mist_jax.risk.features import numbered
from mist_jax.simulator.variation.levels import plain_suite

MIN_STATES = 20
KEPT = (4, 8, 16, 32, 64)
RIDGES = (1.0, 10.0, 100.0, 1000.0)
FOLDS = 5


@dataclass(frozen=True)
class NormalTable:
    """States within the horizon before an episode's first harmful event, and its normal."""

    features: np.ndarray  # float32 [n, F]
    normal: np.ndarray  # float32 [n, 3], unit, from the obstacle to the robot side, world
    scene: np.ndarray  # int64 [n]: an index of (suite, task, initial state)
    task: np.ndarray  # int64 [n]: an index of (suite, task)

    def __len__(self) -> int:
        return len(self.normal)


@dataclass(frozen=True)
class FittedNormal:
    """normal ~ bias + z @ weights, then brought to norm 1.

    `cosine` is the mean one between forecast and normal on held-out scenes, `task_cosine` that of
    saying the mean normal of the task: what the features are worth is the difference.
    """

    components: Components
    weights: np.ndarray  # float32 [k, 3]
    bias: np.ndarray  # float32 [3]
    states: int
    cosine: float
    task_cosine: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Unit normals float64 [n, 3] of features [n, F]."""
        return _unit(self.bias + self.components(features) @ self.weights)

    @property
    def directions(self) -> np.ndarray:
        """float64 [F, 3]: the directions of the features that x, y and z of the normal follow."""
        return (self.components.basis / self.components.scale) @ self.weights.astype(np.float64)

    def intent(self, size: float) -> AlongNormal:
        """As the forward takes it; `size` is the change's length, executed units a control step."""
        return AlongNormal.of(self.components.projection(), self.weights, self.bias, size)


def normals_of_branches(table: BranchTable) -> NormalTable:
    """Of the forks whose zero branch meets a harmful event within the horizon."""
    rows = (table.ahead < table.horizon) & np.isfinite(table.normal).all(axis=1)
    normal = _unit(table.normal[rows])
    return NormalTable(table.features[rows], normal, table.scene[rows], table.task[rows])


def gather_normals(
    episodes: Iterable[Episode],
    reads: Sequence[str],
    layer: int,
    *,
    place: str = DEFAULT_SITE,
    horizon: int = DEFAULT_HORIZON,
) -> NormalTable:
    """Of unsteered episodes: every query within the horizon before the first harmful event.

    Raises:
        UserError: a site or layer that is not stored, or no harmful event at all.
    """
    features, normals, scenes = [], [], []
    for episode in episodes:
        contact = first_normal(episode)
        if episode.key.arm != UNSTEERED or contact is None:
            continue
        begins, normal = contact
        steps = begins - np.asarray(episode.queries.step, np.int64)
        for row in np.flatnonzero((steps >= 0) & (steps < horizon)):
            features.append(fork_features(episode, int(row), reads, layer, place))
            normals.append(normal)
            key = episode.key
            scenes.append((plain_suite(key.suite), key.task_id, key.initial_state))
    if not normals:
        raise UserError("no unsteered episode has a harmful contact: no normal to learn")
    tasks = numbered([scene[:2] for scene in scenes])
    return NormalTable(np.stack(features), np.stack(normals), numbered(scenes), tasks)


def fit_normal(table: NormalTable, seed: int = 0) -> FittedNormal:
    """Width and ridge are those of the best mean cosine on held-out scenes.

    Raises:
        UserError: too few states or scenes.
    """
    scenes = np.unique(table.scene)
    if len(table) < MIN_STATES or len(scenes) < FOLDS:
        raise UserError(
            f"the contact's normal is to be learnt from {len(table)} states of {len(scenes)} "
            f"scenes; it takes at least {MIN_STATES} of {FOLDS}: collect more harmful contacts"
        )
    order = np.random.default_rng(seed).permutation(len(scenes))
    fold = (order % FOLDS)[np.searchsorted(scenes, table.scene)]
    cosines = np.zeros((len(KEPT), len(RIDGES), len(table)))
    of_task = np.zeros(len(table))
    for k in range(FOLDS):
        train, test = fold != k, fold == k
        components = principal_components(table.features[train], max(KEPT))
        for row in np.flatnonzero(test):
            alike = train & (table.task == table.task[row])
            mean = table.normal[alike if alike.any() else train].mean(axis=0)
            of_task[row] = table.normal[row] @ _unit(mean)
        for row, kept in enumerate(KEPT):
            some = components.first(kept)
            for column, ridge in enumerate(RIDGES):
                weights, bias = _ridge(some(table.features[train]), table.normal[train], ridge)
                said = _unit(bias + some(table.features[test]) @ weights)
                cosines[row, column, test] = (said * table.normal[test]).sum(axis=1)
    mean = cosines.mean(axis=2)
    row, column = np.unravel_index(int(mean.argmax()), mean.shape)
    components = principal_components(table.features, KEPT[row])
    weights, bias = _ridge(components(table.features), table.normal, RIDGES[column])
    return FittedNormal(
        components,
        weights.astype(np.float32),
        bias.astype(np.float32),
        len(table),
        float(mean.max()),
        float(of_task.mean()),
    )


def _ridge(z: np.ndarray, normal: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights [k, 3] and bias [3] of least squares plus ridge |weights|^2."""
    centre, bias = z.mean(axis=0), normal.mean(axis=0)
    square = (z - centre).T @ (z - centre) + ridge * np.eye(z.shape[1])
    weights = np.linalg.solve(square, (z - centre).T @ (normal - bias))
    return weights, bias - centre @ weights


def _unit(vectors: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(norm > 0, norm, 1), np.float64)
