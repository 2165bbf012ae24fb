"""How often an arm wins and loses a pair of episodes: assumed, or as an evaluation shows it."""

from collections.abc import Sequence
from dataclasses import dataclass

from mist_jax.errors import UserError
from mist_jax.evaluation.metrics import METRICS, differences, pairs
from mist_jax.evaluation.results import EpisodeResult
from mist_jax.evaluation.study.endpoint import Endpoint, signed_gaps


@dataclass(frozen=True)
class PairRates:
    """Rates of pairs that the arm wins (it alone has the better outcome) and loses."""

    won: float
    lost: float

    @property
    def gain(self) -> float:
        """Difference of the arms' rates, positive where the arm is better."""
        return self.won - self.lost

    @property
    def discordance(self) -> float:
        """Rate of pairs whose outcomes differ."""
        return self.won + self.lost


def rates_of(gain: float, discordance: float) -> PairRates:
    """Those with this gain and this discordance.

    Raises:
        UserError: outcomes cannot differ so seldom, or more often than always.
    """
    if not abs(gain) - 1e-9 <= discordance <= 1:
        raise UserError(
            f"a discordance of {discordance:g} does not go with rates that differ by "
            f"{abs(gain):g}: give one from {abs(gain):g} to 1"
        )
    return PairRates(max(discordance + gain, 0.0) / 2, max(discordance - gain, 0.0) / 2)


def rates_between(base: float, other: float, discordance: float | None) -> PairRates:
    """Those of an arm in which a share `other` of episodes goes wrong, and `base` in its control.

    `discordance` is None for outcomes that are independent within pairs: pairs that share a scene
    and a seed differ less often.

    Raises:
        UserError: one is no rate, or no pairs have that discordance.
    """
    if not (0 <= base <= 1 and 0 <= other <= 1):
        raise UserError(f"rates go from 0 to 1, and {base:g} and {other:g} are assumed")
    if discordance is None:
        discordance = base * (1 - other) + other * (1 - base)
    most = most_discordant(base, other)
    if discordance > most + 1e-9:
        raise UserError(
            f"a discordance of {discordance:g} does not go with rates of {base:g} and {other:g}: "
            f"give {most:g} at most"
        )
    return rates_of(base - other, discordance)


def most_discordant(base: float, other: float) -> float:
    """The largest rate of pairs with different outcomes that two rates allow."""
    return min(base + other, 2 - base - other)


def observed(endpoint: Endpoint, results: Sequence[EpisodeResult]) -> tuple[float, PairRates]:
    """The rate of the arm it is compared with, and how often pairs were won and lost.

    Raises:
        UserError: the evaluation has no pair of these arms.
    """
    matched, _ = pairs(results, endpoint.arm, endpoint.against)
    if not matched:
        raise UserError(
            f"the tuning evaluation has no pair of {endpoint.arm} and {endpoint.against}: run "
            "both, or type what to assume"
        )
    metric = METRICS[endpoint.metric]
    gaps = signed_gaps(endpoint, differences(metric, matched))
    base = sum(metric.of(one) for one, _ in matched) / len(matched)
    return base, PairRates(float((gaps > 0).mean()), float((gaps < 0).mean()))
