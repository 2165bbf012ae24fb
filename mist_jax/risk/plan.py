"""What one study asks of every detector alike: how to fit, on which folds, for which dimensions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mist_jax.errors import UserError
from mist_jax.risk.features import Samples
from mist_jax.risk.labels import Target
from mist_jax.risk.splits import ROLES, Folds, groups_of, make_folds

READABLE = 2 / 3  # part of the depth that risk may be read in: the rest is left to steer
LANGUAGE_SITES = "llm."  # how the names of sites within the steerable layers begin
SAFE_EPOCHS = 1000  # for as long SAFE's networks are trained where they were published
DEFAULT_MIN_POSITIVE = 10  # queries; below it a dimension reports its base rate


@dataclass(frozen=True)
class TrainConfig:
    """How heads are fitted; `patience` counts epochs without a better loss on the select rows.

    `windows` equal parts of the horizon have a hazard each. `input_noise` lists strengths of noise
    on the normalised input, the regulariser that matters on few samples of wide activations; each
    is tried with each of `seeds` seeds. `batch` counts queries; on few it is smaller. All heads
    together train within `memory_limit` bytes of the device, in as many turns as that takes.
    """

    epochs: int = 40
    hidden: int = 64
    windows: int = 2
    learning_rate: float = 2e-3
    weight_decay: float = 1.0
    input_noise: tuple[float, ...] = (0.0, 1.0)
    batch: int = 512
    patience: int = 5
    max_class_weight: float = 20.0
    seeds: int = 1
    seed: int = 0
    memory_limit: int = 8 * 2**30

    @property
    def trials(self) -> tuple[tuple[float, int], ...]:
        """(input noise, seed) of each trial."""
        return tuple((noise, s) for noise in self.input_noise for s in range(self.seeds))


@dataclass(frozen=True)
class StudyConfig:
    """What is trained and how it is tested.

    `detector` names the one that ships, `target` the events that are forecast; `rate` is that of
    false alarms on clean episodes; `max_layer` is the last layer that it may read, None: two thirds
    of the stored depth.
    """

    detector: str = "head"
    target: Target = "first"
    split: str = "episode"
    folds: int = 5
    rate: float = 0.15
    min_positive: int = DEFAULT_MIN_POSITIVE
    max_layer: int | None = None
    train: TrainConfig = field(default_factory=TrainConfig)
    safe_epochs: int = SAFE_EPOCHS


@dataclass(frozen=True)
class Plan:
    """The same for all detectors of a study; `rate` is the share of clean episodes that may alarm.

    Signed motions that are not `usable` (bool [M]) report their base rate and never raise an alarm.
    What ships reads no layer after `last_layer` (None: any), so that later ones can be steered.
    SAFE's networks are trained for `safe_epochs`.
    """

    folds: Folds
    usable: np.ndarray
    rate: float
    train: TrainConfig
    last_layer: int | None = None
    safe_epochs: int = SAFE_EPOCHS

    @classmethod
    def of(cls, samples: Samples, config: StudyConfig) -> "Plan":
        """Divides the scenes (or tasks) of `samples` over folds.

        Raises:
            UserError: too few scenes or tasks to divide, or no stored layer may be read.
        """
        last = last_layer(samples, config.max_layer)
        folds = make_folds(samples, config.split, config.folds, config.train.seed)
        usable, _ = usable_motions(samples, config.min_positive, config.split)
        # Base rates only: no epoch would learn anything.
        train = config.train if usable.any() else replace(config.train, epochs=1)
        return cls(folds, usable, config.rate, train, last, config.safe_epochs)

    def may_read(self, layers: Sequence[int]) -> np.ndarray:
        """bool [L]: which of `layers` what ships may read."""
        return np.asarray([self.last_layer is None or layer <= self.last_layer for layer in layers])


def last_layer(samples: Samples, asked: int | None = None) -> int | None:
    """The last layer that a detector that gates may read; None: any.

    Risk read at a layer opens pushes at later ones only. Of a site of the language model the first
    two thirds of the depth (as far as it is stored) may be read, and never the last layer, unless
    it is the only one; other sites come before or after everything that can be steered.

    Raises:
        UserError: no stored layer is as early as `asked`.
    """
    first, depth = min(samples.layers), max(samples.layers) + 1
    if asked is not None:
        if asked < first:
            raise UserError(
                f"--max_layer={asked}: the first stored layer of {samples.site} is {first}"
            )
        return asked
    if not samples.site.startswith(LANGUAGE_SITES):
        return None
    return max(min(math.ceil(READABLE * depth) - 1, depth - 2), first)


def usable_motions(
    samples: Samples, min_positive: int = DEFAULT_MIN_POSITIVE, split: str = "episode"
) -> tuple[np.ndarray, np.ndarray]:
    """Which signed motions have enough positives to learn from, bool [M], and how many, int [M].

    Enough is `min_positive` queries from at least five groups of the split, one for each role that
    data play: from fewer a motion cannot be trained, calibrated and tested. The others report their
    base rate and never raise an alarm.
    """
    positive = samples.risk & samples.valid[:, None]
    count = positive.sum(axis=0)
    of_query = groups_of(samples.episodes, split)[samples.episode]
    groups = np.asarray([len(np.unique(of_query[positive[:, m]])) for m in range(len(count))])
    return (count >= min_positive) & (groups >= ROLES), count
