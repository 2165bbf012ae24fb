"""Detectors that need queries which are not executed: what collection calls probes.

Neither is trained, so neither has a twin. Data that were collected without the probe have nothing
to score: `missing` says so in one line, and a study leaves the detector out with it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.errors import UserError
from mist_jax.risk.detector import Claim, Fit, Member, Progress
from mist_jax.risk.features import Samples
from mist_jax.risk.plan import Plan


@dataclass(frozen=True)
class Probed:
    """A score of one probe, the same for every fold."""

    name: str
    probe: str  # of `collect_failure_data --probes`
    scores: Callable[[Samples], np.ndarray | None]
    claims: Claim = "failure"

    @property
    def learner(self) -> str:
        return self.name

    def epochs(self, plan: Plan) -> int:
        return 0

    def missing(self, samples: Samples) -> str:
        """Why these samples cannot be scored, in one line; empty where they can."""
        there = self.scores(samples) is not None
        return "" if there else f"{self.name} needs data collected with --probes={self.probe}"

    def fit(self, samples: Samples, plan: Plan, progress: Progress) -> Fit:
        """Nothing is learnt."""
        return Fit([{"nothing": np.zeros(1, np.float32)} for _ in range(plan.folds.count)])

    def score(self, member: Member, samples: Samples) -> np.ndarray:
        """Scores [Q].

        Raises:
            UserError: the data lack the probe.
        """
        scores = self.scores(samples)
        if scores is None:
            raise UserError(self.missing(samples))
        return scores


def temporal_inconsistency(samples: Samples) -> np.ndarray | None:
    """Float [Q]: how far apart successive plans are for the steps that both cover.

    STAC (Agia et al., arXiv 2410.04640) for a policy that gives one chunk and not a distribution:
    SAFE's STAC-single (arXiv 2506.09937, `failure_prob/utils/failure_metrics.py`), the mean over
    the covered steps of the Euclidean norm of the difference of actions. Plans are made every half
    chunk: the chunk of the query before, the probe between the two, and this query's chunk; the
    score is the mean of the two comparisons. 0 at an episode's first query.
    """
    if samples.overlap is None:
        return None
    probe = samples.overlap.astype(np.float64)  # [Q, C, A]
    chunk = samples.action.astype(np.float64).reshape(probe.shape)
    half = probe.shape[1] // 2
    ahead = probe.shape[1] - half

    def apart(older: np.ndarray, newer: np.ndarray, since: int) -> np.ndarray:
        covered = older.shape[1] - since
        return np.linalg.norm(older[:, since:] - newer[:, :covered], axis=-1).mean(axis=1)

    score = (apart(chunk[samples.previous], probe, half) + apart(probe, chunk, ahead)) / 2
    return np.where(np.isfinite(score), score, 0.0)


def perturbed_variance(samples: Samples) -> np.ndarray | None:
    """Float [Q]: how much the chunk's first action varies with the pictures, over all dimensions.

    The total variance of SAFE's multi-sample baselines (arXiv 2506.09937, `total_var`), of samples
    that come from slightly perturbed pictures and not from a sampling policy: this one has none.
    The gripper is left out, as its scale is another.
    """
    if samples.spread is None:
        return None
    arm = samples.spread[:, : ACTION_DIMENSIONS.index("gripper")].astype(np.float64)
    return (arm**2).sum(axis=1)


STAC = Probed("STAC", "overlap", temporal_inconsistency)
INPUT_VARIANCE = Probed("input variance", "variance", perturbed_variance)
PROBED = (STAC, INPUT_VARIANCE)
