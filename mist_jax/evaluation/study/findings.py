"""What a registered study has shown of each endpoint, and what it cannot say."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from mist_jax.evaluation.metrics import METRICS, Pair, difference, differences, scenes
from mist_jax.evaluation.results import EpisodeResult
from mist_jax.evaluation.statistics import Estimate
from mist_jax.evaluation.study.endpoint import Endpoint, claim_p, signed_gaps
from mist_jax.evaluation.study.gatekeeping import gatekept
from mist_jax.evaluation.study.preregistration import Preregistration
from mist_jax.record.episode import EpisodeKey
from mist_jax.risk.judging.verdict import CANNOT, MIN_CLUSTERS

# The last two are of the endpoints that ask whether an arm is no worse.
Finding = Literal["better", "not better", "cannot be judged", "no worse", "not shown"]


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """What is left of an endpoint without the task in which the arm won most.

    A study of scenes may be one of a single task; this says whether it is.
    """

    task_id: int
    instruction: str
    won: int
    lost: int
    p: float


@dataclasses.dataclass(frozen=True)
class EndpointFinding:
    """What is known of one endpoint.

    Attributes:
        words: the claim.
        verdict: `better` or `no worse` where it is shown.
        why: of a verdict that cannot be given, else nothing.
        pairs: compared, in so many `scenes`; `crashed` ones count as lost, and are not in
            `difference`.
        won: pairs in which the arm alone has the better outcome; `lost` likewise.
        difference: of the rates, arm minus control.
        p: exact, of this claim alone; `p_gatekept` with those before it.
        elsewhere: the same without the task that it owes most to; None of a claim that an arm is no
            worse, or with one task.
    """

    endpoint: Endpoint
    words: str
    verdict: Finding
    why: str
    pairs: int
    scenes: int
    crashed: int
    won: int
    lost: int
    difference: Estimate
    p: float
    p_gatekept: float
    elsewhere: Elsewhere | None = None


@dataclasses.dataclass(frozen=True)
class StudyFindings:
    """Of all endpoints, in their order; `missing` episodes of their arms were not run yet."""

    missing: int
    endpoints: tuple[EndpointFinding, ...]


def find(results: Sequence[EpisodeResult], registered: Preregistration) -> StudyFindings:
    """Judges the endpoints by the registered episodes; others of the folder are left out.

    Nothing is said before the last of them has ended: who looks in between would look until it
    pleases.
    """
    of = {result.key: result for result in results}
    compared = {arm for one in registered.endpoints for arm in (one.arm, one.against)}
    wanted = [key for arm in sorted(compared) for key in registered.keys(arm)]
    missing = sum(key not in of for key in wanted)
    judged = [_judged(one, of, registered) for one in registered.endpoints]
    adjusted = gatekept([one.p for one in judged])
    found, closed = [], ""
    for one, p_gatekept in zip(judged, adjusted, strict=True):
        why = closed
        if missing:
            why = f"{missing} of {len(wanted)} registered episodes were not run yet"
        elif one.scenes < MIN_CLUSTERS:
            why = why or f"{one.scenes} scenes of at least {MIN_CLUSTERS}"
        shown = p_gatekept < registered.level
        verdict = CANNOT if why else _verdict(one.endpoint, shown=shown)
        found.append(dataclasses.replace(one, verdict=verdict, why=why, p_gatekept=p_gatekept))
        if not shown and not closed:
            closed = f"({one.endpoint.name}), which comes before, is not shown"
    return StudyFindings(missing, tuple(found))


def _verdict(endpoint: Endpoint, *, shown: bool) -> Finding:
    if endpoint.margin is None:
        return "better" if shown else "not better"
    return "no worse" if shown else "not shown"


def _judged(
    endpoint: Endpoint, of: Mapping[EpisodeKey, EpisodeResult], registered: Preregistration
) -> EndpointFinding:
    """The endpoint by itself, whatever comes before it."""
    couples: list[Pair] = []
    for key in registered.keys(endpoint.arm):
        other = dataclasses.replace(key, arm=endpoint.against)
        if key in of and other in of:
            couples.append((of[other], of[key]))
    crashed = np.asarray([one.crashed or two.crashed for one, two in couples], bool)
    whole = [pair for pair, lost in zip(couples, crashed, strict=True) if not lost]
    metric = METRICS[endpoint.metric]
    gaps = np.where(crashed, -1.0, signed_gaps(endpoint, differences(metric, couples)))
    p = claim_p(endpoint, gaps, scenes([one for one, _ in couples]))
    return EndpointFinding(
        endpoint=endpoint,
        words=str(endpoint),
        verdict=CANNOT,
        why="",
        pairs=len(couples),
        scenes=len({one.scene for one, _ in whole}),
        crashed=int(crashed.sum()),
        won=int((gaps > 0).sum()),
        lost=int((gaps < 0).sum()),
        difference=difference(metric, whole),
        p=p,
        p_gatekept=p,
        elsewhere=_elsewhere(endpoint, couples, gaps),
    )


def _elsewhere(endpoint: Endpoint, couples: Sequence[Pair], gaps: np.ndarray) -> Elsewhere | None:
    """`gaps` [N] of the pairs, positive where the arm is better."""
    tasks = np.asarray([one.task_id for one, _ in couples], int)
    if endpoint.margin is not None or len(np.unique(tasks)) < 2:
        return None
    most = max(np.unique(tasks), key=lambda task: gaps[tasks == task].sum())
    rest = np.flatnonzero(tasks != most)
    return Elsewhere(
        task_id=int(most),
        instruction=couples[int(np.argmax(tasks == most))][0].instruction,
        won=int((gaps[rest] > 0).sum()),
        lost=int((gaps[rest] < 0).sum()),
        p=claim_p(endpoint, gaps[rest], scenes([couples[row][0] for row in rest.tolist()])),
    )
