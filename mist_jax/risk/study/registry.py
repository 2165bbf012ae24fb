"""Every detector there is; one row makes a new one appear in the cards.

The order is that of the tables. All are told beside the one that ships; detectors of failure have a
card of their own too.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from mist_jax.errors import UserError
from mist_jax.extensions import Table
from mist_jax.risk.baselines.rows import BASELINES
from mist_jax.risk.detector import Detector, GatingDetector
from mist_jax.risk.judging.groups import ON_CONTACTS, ON_FAILURES, OTHERS, OURS, OUTSIDE
from mist_jax.risk.perceptron.head import HEADS
from mist_jax.risk.published.distillation import RND
from mist_jax.risk.published.flow import LOGPZO
from mist_jax.risk.published.mahalanobis import MAHALANOBIS
from mist_jax.risk.published.neighbours import COSINE_NEIGHBOURS, EUCLIDEAN_NEIGHBOURS
from mist_jax.risk.published.pca_kmeans import PCA_KMEANS
from mist_jax.risk.published.probed import PROBED
from mist_jax.risk.published.safe import SAFE_DETECTORS, SAFE_TWINS

Registry: TypeAlias = Mapping[str, Detector]


def registry_of(detectors: Iterable[Detector]) -> Registry:
    """Detectors by name."""
    return MappingProxyType({detector.name: detector for detector in detectors})


CONTRASTS = (
    MAHALANOBIS,
    EUCLIDEAN_NEIGHBOURS,
    COSINE_NEIGHBOURS,
    PCA_KMEANS,
    RND,
    LOGPZO,
)
PUBLISHED = (
    *SAFE_TWINS,
    *(one.twin for one in CONTRASTS),
    *SAFE_DETECTORS,
    *CONTRASTS,
    *PROBED,
)
DETECTORS: Registry = Table("DETECTORS", object, (*HEADS, *BASELINES, *PUBLISHED))


def group_of_detector(detector: Detector) -> str:
    """One of `groups.GROUPS`; of a detector that is not of this package `groups.OTHERS`."""
    if detector.name in {one.name for one in HEADS}:
        return OURS
    if detector.name in {one.name for one in BASELINES}:
        return OUTSIDE
    if detector.name not in {one.name for one in PUBLISHED}:
        return OTHERS
    return ON_CONTACTS if detector.claims == "contact" else ON_FAILURES


def gating(name: str, detectors: Registry = DETECTORS) -> GatingDetector:
    """The detector of that name, which can be read inside the forward.

    Raises:
        UserError: there is none, or it cannot.
    """
    found = detectors.get(name)
    if not isinstance(found, GatingDetector):
        raise UserError(
            f"no detector {name!r} can open gates; there are {', '.join(gating_names(detectors))}"
        )
    return found


def gating_names(detectors: Registry = DETECTORS) -> tuple[str, ...]:
    """Names of the detectors that can open gates."""
    return tuple(n for n, detector in detectors.items() if isinstance(detector, GatingDetector))


def all_rows(subject: str, detectors: Registry = DETECTORS) -> tuple[Detector, ...]:
    """The subject, then every other detector: the rows of the scorecard."""
    return (detectors[subject], *(d for d in detectors.values() if d.name != subject))


def chosen(subject: str, names: Sequence[str], detectors: Registry = DETECTORS) -> Registry:
    """The subject and the rows of those names; of all detectors where none are named.

    Raises:
        UserError: there is no such detector.
    """
    unknown = [name for name in names if name not in detectors]
    if unknown:
        raise UserError(f"no detector {unknown[0]!r}; there are {', '.join(detectors)}")
    wanted = set(names or detectors) | {subject}
    return registry_of(d for d in detectors.values() if d.name in wanted)
