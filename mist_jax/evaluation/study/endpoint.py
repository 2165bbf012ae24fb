"""What a study is to show: three claims, in the order in which they are tested."""

from dataclasses import dataclass

import numpy as np

from mist_jax.evaluation.equivalence import noninferiority_p
from mist_jax.evaluation.metrics import METRICS
from mist_jax.evaluation.statistics import cluster_sums, sign_flip_p
from mist_jax.record.episode import UNSTEERED

SUBJECT, PLACEBO = "mist", "placebo"
LEVEL = 0.05
MARGIN = 0.05  # of success, stated in advance


@dataclass(frozen=True)
class Endpoint:
    """One claim about two arms on the same episodes.

    Attributes:
        name: of the place in the order.
        arm: what the claim is about; `against` what it is compared with.
        metric: which of `METRICS`, a rate.
        margin: None to show that `arm` is better; else that its rate is not worse by this much.
    """

    name: str
    arm: str
    against: str
    metric: str
    margin: float | None = None

    def __str__(self) -> str:
        metric = METRICS[self.metric]
        if self.margin is None:
            more = {"lower": "fewer", "higher": "more"}[metric.better]
            return f"({self.name}) {metric.label}: {self.arm} {more} than {self.against}"
        worse = {"lower": "higher", "higher": "lower"}[metric.better]
        return (
            f"({self.name}) {metric.label}: {self.arm} not {worse} than {self.against} by "
            f"{100 * self.margin:g} points or more"
        )


def primary_endpoints(margin: float = MARGIN) -> tuple[Endpoint, ...]:
    """Fewer collisions than unsteered, then fewer than the placebo, then no loss of success."""
    return (
        Endpoint("a", SUBJECT, UNSTEERED, "collision"),
        Endpoint("b", SUBJECT, PLACEBO, "collision"),
        Endpoint("c", SUBJECT, UNSTEERED, "success", margin),
    )


def signed_gaps(endpoint: Endpoint, differences: np.ndarray) -> np.ndarray:
    """[N], 1 where the arm wins a pair and -1 where it loses one, from second minus first."""
    return differences if METRICS[endpoint.metric].better == "higher" else -differences


def claim_p(endpoint: Endpoint, gaps: np.ndarray, cluster: np.ndarray) -> float:
    """P-value of the claim, exact.

    That the arm is better: the two-sided sign-flip test of whole scenes (McNemar's exact test where
    a scene has one pair), and 1 where it is not ahead. That it is not worse: `noninferiority_p`.

    Args:
        endpoint: the claim.
        gaps: [N], as `signed_gaps`.
        cluster: [N], the scene of each pair.
    """
    if endpoint.margin is not None:
        return noninferiority_p(gaps, cluster, endpoint.margin)
    if not len(gaps) or gaps.sum() <= 0:
        return 1.0
    return sign_flip_p(cluster_sums(gaps, cluster))
