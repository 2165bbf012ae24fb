"""What a detector is: fitted on some rows of the table, it scores every query.

The risk head, the baselines and the published detectors are rows of one registry
(`risk/study/registry.py`); all are fitted on the same folds and judged by the same code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.intervention.reader import RiskReader
from mist_jax.risk.calibration.platt import Platt
from mist_jax.risk.features import Samples
from mist_jax.risk.plan import Plan

Claim: TypeAlias = Literal["contact", "failure"]
Member: TypeAlias = Mapping[str, Any]  # arrays by name; what a detector learnt for one fold
Progress: TypeAlias = Callable[[int], None]


@dataclass(frozen=True)
class Fit:
    """Member k is what fold k is tested by: it saw nothing of that fold's queries.

    It may be trained on `folds.train` and stopped or chosen on `folds.select`
    (`plan.folds.labelled`), and never sees the scenes that calibrate or set thresholds. None: the
    fold offers nothing to learn from.
    """

    members: Sequence[Member | None]


class Detector(Protocol):
    """One way to forecast harm.

    `claims` says what a score speaks of: "contact" is one logit per signed motion, [Q, M],
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
class GatingDetector(Detector, Protocol):
    """A detector that can be read inside the compiled forward, and so open gates."""

    @property
    def reader(self) -> type[Any]:
        """A `flax.struct` dataclass that is a `RiskReader`; its arrays are what is stored."""
        ...

    def ship(
        self,
        members: Sequence[Member],
        platts: Sequence[Platt],
        ensemble: Platt,
        samples: Samples,
        plan: Plan,
    ) -> RiskReader:
        """The fold ensemble as a reader: what judges new scenes, and opens gates.

        Its risk is `ensemble(logit(mean_k platts[k](score_k)))`. What it reads are layers that
        `plan.may_read`.
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


def per_motion(scores: np.ndarray) -> np.ndarray:
    """Scores [Q, M]; one number per query speaks for every signed motion alike."""
    if scores.ndim == 2:
        return scores
    return np.repeat(scores[:, None], len(SIGNED_MOTIONS), axis=1)
