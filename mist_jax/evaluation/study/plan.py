"""How likely a study of a given size is to show each endpoint, and what size it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mist_jax.evaluation.study.endpoint import Endpoint
from mist_jax.evaluation.study.pair_rates import PairRates
from mist_jax.evaluation.study.power import (
    episodes_needed,
    noninferiority_power,
    superiority_power,
)

MOST = 6000  # pairs; a study that takes more is not one that somebody runs


@dataclass(frozen=True)
class EndpointPower:
    """What to expect of one endpoint.

    Attributes:
        rates: assumed.
        power: probability that its own test shows it, with the pairs of the study.
        needed: pairs at which that reaches the target; None where `MOST` do not.
    """

    endpoint: Endpoint
    rates: PairRates
    power: float
    needed: int | None


@dataclass(frozen=True)
class StudyPower:
    """What to expect of a study of `pairs` scenes, each run once with every arm.

    Attributes:
        endpoints: in their order.
        all_shown: probability that all of them are shown, were they independent. They share the
            steered episodes and go together: it is more. `needed` pairs bring it to the target.
    """

    pairs: int
    endpoints: tuple[EndpointPower, ...]
    all_shown: float
    needed: int | None


def power_of(endpoint: Endpoint, rates: PairRates, pairs: int, level: float) -> float:
    """Probability that the endpoint's own test shows it."""
    if endpoint.margin is None:
        return superiority_power(pairs, rates.won, rates.lost, level)
    return noninferiority_power(pairs, rates.won, rates.lost, endpoint.margin, level)


def plan_power(
    assumed: Mapping[Endpoint, PairRates],
    pairs: int,
    *,
    level: float,
    target: float,
    step: int = 10,
) -> StudyPower:
    """The power of a study of so many pairs, and the pairs that it takes for `target`.

    `step` is what numbers of pairs are multiples of, such as the number of tasks.
    """
    endpoints = tuple(assumed)

    def all_of(n: int, some: Sequence[Endpoint], enough: float = 0.0) -> float:
        """The product; of some alone where that is below `enough` already."""
        product = 1.0
        for one in sorted(some, key=lambda one: one.margin is not None):  # the quick ones first
            product *= power_of(one, assumed[one], n, level)
            if product < enough:
                break
        return product

    def needed(some: Sequence[Endpoint]) -> int | None:
        return episodes_needed(lambda n: all_of(n, some, target), target, step=step, most=MOST)

    alone = [needed((one,)) for one in endpoints]
    return StudyPower(
        pairs,
        tuple(
            EndpointPower(one, assumed[one], power_of(one, assumed[one], pairs, level), own)
            for one, own in zip(endpoints, alone, strict=True)
        ),
        all_of(pairs, endpoints),
        None if None in alone else needed(endpoints),
    )
