"""What a detector is: fitted on some rows of the table, it scores every query.

The risk head, the baselines and the published detectors are rows of one registry
(`risk/study/registry.py`); all are fitted on the same folds and judged by the same code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.errors import UserError
from mist_jax.intervention.reader import RiskReader
from mist_jax.risk.calibration import Platt
from mist_jax.risk.features import Samples
from mist_jax.risk.plan import Plan

Claim: TypeAlias = Literal["contact", "failure"]
Member: TypeAlias = Mapping[str, Any]  # arrays by name; what a detector learnt for one fold
Progress: TypeAlias = Callable[[int], None]


@dataclass(frozen=True)
class Fit:
    """Member k is what fold k is tested by: it saw nothing of that fold's queries.

    It may be trained on `folds.train` and stopped or chosen on `folds.validation`. None: the fold
    offers nothing to learn from. Members of a detector that forecasts contacts or ships are stored
    together: their arrays have the same names and shapes.
    """

    members: Sequence[Member | None]


@dataclass(frozen=True)
class Refit:
    """One more member, fitted to every scene, for scenes that are new.

    `outside` are scores of every query as in `Shipped`, and so is `validation_auroc`.
    """

    member: Member
    outside: np.ndarray
    validation_auroc: np.ndarray


@dataclass(frozen=True)
class Shipped:
    """What a gating detector gives to be used on new scenes.

    `outside` are scores ([Q, A], or [Q] for a failure score) of every query by models that did not
    see it; they calibrate `reader`, which makes the pytree with a calibration inside. Of each
    stored layer, `validation_auroc` is the mean over folds, nan where it was not tried.
    """

    outside: np.ndarray
    reader: Callable[[Platt], RiskReader]
    validation_auroc: np.ndarray  # float [L]


class Detector(Protocol):
    """One way to forecast harm.

    `claims` says what a score speaks of: "contact" is one logit per action dimension, [Q, A],
    "failure" one number per query, [Q], larger where the episode is likelier to fail. Neither has
    to be calibrated: that is done for all alike. Detectors of the same `learner` share one fit.
    """

    @property
    def name(self) -> str: ...

    @property
    def learner(self) -> str: ...

    @property
    def claims(self) -> Claim: ...

    def epochs(self, plan: Plan) -> int:
        """How many epochs a fit takes at most, for the progress bar; 0: no time to speak of."""
        ...

    def fit(self, samples: Samples, plan: Plan, progress: Progress) -> Fit:
        """Fits one member per fold; `progress` is told how many more epochs are over."""
        ...

    def score(self, member: Member, samples: Samples) -> np.ndarray:
        """Finite scores of every query of `samples`, which may be other ones than those fitted to.

        Raises:
            UserError: `samples` lack what the member reads.
        """
        ...


@runtime_checkable
class RefittingDetector(Detector, Protocol):
    """What is told beside a detector that ships: on new scenes both are refits to all the rest."""

    def refit(self, fit: Any, samples: Samples, plan: Plan) -> Refit:
        """Refits to all of `samples`, with out-of-sample scores to calibrate on."""
        ...


@runtime_checkable
class GatingDetector(Detector, Protocol):
    """A detector that can be read inside the compiled forward, and so open gates."""

    @property
    def reader(self) -> type[Any]:
        """A `flax.struct` dataclass that is a `RiskReader`; its arrays are what is stored."""
        ...

    def ship(self, fit: Fit, samples: Samples, plan: Plan) -> Shipped:
        """Refits to all of `samples`, with out-of-sample scores to calibrate on.

        What it reads is a layer that `plan.may_read`.

        Raises:
            UserError: there is not enough to learn from.
        """
        ...


def activation_at(samples: Samples, layer: int, reads: str) -> np.ndarray:
    """Activations [Q, D] of one layer of the samples' site; `reads` names who asks.

    Raises:
        UserError: the layer is not stored.
    """
    if layer not in samples.layers:
        raise UserError(
            f"{reads} reads layer {layer} of {samples.site}, which the dataset does not hold (it "
            f"has {list(samples.layers)}); collect that layer too"
        )
    return samples.activation[:, samples.layers.index(layer)]


def per_dimension(scores: np.ndarray) -> np.ndarray:
    """Scores [Q, A]; one number per query speaks for every dimension alike."""
    if scores.ndim == 2:
        return scores
    return np.repeat(scores[:, None], len(ACTION_DIMENSIONS), axis=1)
