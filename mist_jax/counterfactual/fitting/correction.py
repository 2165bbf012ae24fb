"""What the expert would do otherwise: ridge regression of its correction on activations.

The expert looks at the simulator's own state and keeps clear of obstacles; its action minus the
policy's, in the policy's own states (as DAgger asks for it: Ross et al. 2011), is the correction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mist_jax.counterfactual.fitting.components import Components, principal_components
from mist_jax.counterfactual.fitting.table import fork_features
from mist_jax.errors import UserError
from mist_jax.intervention.intent.toward_expert import XYZ, TowardExpert
from mist_jax.intervention.site import DEFAULT_SITE
from mist_jax.record.episode import Episode
from mist_jax.record.event import first_events, harmful_events
from mist_jax.risk.features import numbered
from mist_jax.simulator.variation.levels import plain_suite

MIN_STATES = 200
KEPT = (32, 64, 128, 256)
RIDGES = (0.03, 0.3, 3.0)
FOLDS = 5
NEAR = 32  # control steps before a first harmful event, whose states count NEAR_WEIGHT times
NEAR_WEIGHT = 5.0


@dataclass(frozen=True)
class CorrectionTable:
    """Queries whose chunk the expert has been asked for as well."""

    features: np.ndarray  # float32 [n, F]
    change: np.ndarray  # float32 [n, 3], expert minus policy, mean of the chunk, units a step
    weight: np.ndarray  # float64 [n]
    scene: np.ndarray  # int64 [n]: an index of (suite, task, initial state)

    def __len__(self) -> int:
        return len(self.change)


@dataclass(frozen=True)
class FittedCorrection:
    """change ~ bias + z @ weights.

    `explained` is the share of the change's (weighted) square that is foretold on held-out scenes:
    0 for saying nothing, as standing pat does.
    """

    components: Components
    weights: np.ndarray  # float32 [k, 3]
    bias: np.ndarray  # float32 [3]
    states: int
    explained: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Changes float64 [n, 3] of features [n, F]."""
        return self.bias + self.components(features) @ self.weights

    def intent(self, size: float) -> TowardExpert:
        """As the forward takes it; `size` is the longest change, executed units a control step."""
        return TowardExpert.of(self.components.projection(), self.weights, self.bias, size)


def gather_corrections(
    episodes: Iterable[Episode], reads: Sequence[str], layer: int, *, place: str = DEFAULT_SITE
) -> CorrectionTable:
    """Of every query with an expert's chunk beside the policy's, until the first harmful event.

    Raises:
        UserError: a site or layer that is not stored, or no such query at all.
    """
    features, changes, weights, scenes = [], [], [], []
    for episode in episodes:
        asked = episode.queries.expert
        if asked is None:
            continue
        onsets = first_events(harmful_events(episode))
        first = onsets[0].first if onsets else np.inf
        for row, begins in enumerate(np.asarray(episode.queries.step, np.int64)):
            own = episode.steps.commanded[begins : begins + asked.shape[1], :XYZ]
            if len(own) < asked.shape[1] or begins > first:
                continue
            features.append(fork_features(episode, row, reads, layer, place))
            changes.append(asked[row, :, :XYZ].mean(axis=0) - own.mean(axis=0))
            weights.append(NEAR_WEIGHT if first - begins <= NEAR else 1.0)
            key = episode.key
            scenes.append((plain_suite(key.suite), key.task_id, key.initial_state))
    if not changes:
        raise UserError("no episode says what the expert would do: collect with --expert_labels")
    return CorrectionTable(
        np.stack(features), np.stack(changes), np.asarray(weights), numbered(scenes)
    )


def fit_correction(table: CorrectionTable, seed: int = 0) -> FittedCorrection:
    """Width and ridge are those that foretell most on held-out scenes.

    Raises:
        UserError: too few states or scenes.
    """
    scenes = np.unique(table.scene)
    if len(table) < MIN_STATES or len(scenes) < FOLDS:
        raise UserError(
            f"the expert's correction is to be learnt from {len(table)} queries of {len(scenes)} "
            f"scenes; it takes at least {MIN_STATES} of {FOLDS}: collect more with --expert_labels"
        )
    order = np.random.default_rng(seed).permutation(len(scenes))
    fold = (order % FOLDS)[np.searchsorted(scenes, table.scene)]
    wrong = np.zeros((len(KEPT), len(RIDGES)))
    for k in range(FOLDS):
        train, test = fold != k, fold == k
        components = principal_components(table.features[train], max(KEPT))
        for row, kept in enumerate(KEPT):
            some = components.first(kept)
            z, unseen = some(table.features[train]), some(table.features[test])
            for column, ridge in enumerate(RIDGES):
                slopes, bias = _ridge(z, table.change[train], table.weight[train], ridge)
                missed = (bias + unseen @ slopes - table.change[test]) ** 2
                wrong[row, column] += table.weight[test] @ missed.sum(axis=1)
    row, column = np.unravel_index(int(wrong.argmin()), wrong.shape)
    components = principal_components(table.features, KEPT[row])
    slopes, bias = _ridge(components(table.features), table.change, table.weight, RIDGES[column])
    square = table.weight @ (table.change**2).sum(axis=1)
    return FittedCorrection(
        components,
        slopes.astype(np.float32),
        bias.astype(np.float32),
        len(table),
        float(1 - wrong.min() / square) if square > 0 else float("nan"),
    )


def _ridge(
    z: np.ndarray, change: np.ndarray, weight: np.ndarray, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [k, 3] and bias [3] of weighted least squares plus sum(weight) ridge |weights|^2."""
    share = weight / weight.sum()
    centre, mean = share @ z, share @ change
    about = z - centre
    square = (share * about.T) @ about + ridge * np.eye(z.shape[1])
    slopes = np.linalg.solve(square, (share * about.T) @ (change - mean))
    return slopes, mean - centre @ slopes
