"""What a study is planned with: typed, or as a tuning evaluation shows it."""

from collections.abc import Sequence
from dataclasses import dataclass

from mist_jax.errors import UserError
from mist_jax.evaluation.results import EpisodeResult
from mist_jax.evaluation.study.endpoint import Endpoint
from mist_jax.evaluation.study.pair_rates import (
    PairRates,
    most_discordant,
    observed,
    rates_between,
    rates_of,
)


@dataclass(frozen=True)
class Assumptions:
    """What was typed; None is left to the tuning evaluation, or to what is said here.

    Attributes:
        base_rate: of unsteered episodes, with a collision.
        reduction: share of them that steering removes; as often as seen where not typed.
        discordance: rate of pairs, steered and unsteered, of which one alone collides; without a
            tuning evaluation that of independent outcomes, which is the most to fear.
        placebo_reduction: share that the placebo removes; without a tuning evaluation none.
        placebo_discordance: as `discordance`, of pairs with the placebo.
        success_difference: of the rates of success, steered minus unsteered; 0 where not typed.
        success_discordance: of pairs of which one alone succeeds; without a tuning evaluation as
            often as one alone collides.
    """

    base_rate: float | None = None
    reduction: float | None = None
    discordance: float | None = None
    placebo_reduction: float | None = None
    placebo_discordance: float | None = None
    success_difference: float = 0.0
    success_discordance: float | None = None


def assumed_rates(
    endpoints: Sequence[Endpoint], typed: Assumptions, tuning: Sequence[EpisodeResult]
) -> dict[Endpoint, PairRates]:
    """How often the arm wins and loses a pair, of each of `primary_endpoints`.

    Args:
        endpoints: those.
        typed: goes before what is seen.
        tuning: results of the tuning evaluation; empty for none.

    Raises:
        UserError: neither says it, or no rates are so.
    """
    if not tuning and (typed.base_rate is None or typed.reduction is None):
        raise UserError(
            "give --tuning, an evaluation on tuning scenes, or type --base_rate and --reduction"
        )
    against_none, against_placebo, success = endpoints
    seen = {one: observed(one, tuning) for one in endpoints} if tuning else {}
    base, placebo, steered = 0.0, 0.0, 0.0
    if seen:
        base, rates = seen[against_none]
        placebo, steered = seen[against_placebo][0], base - rates.gain
    if typed.base_rate is not None:
        base = typed.base_rate
    if typed.reduction is not None:
        steered = base * (1 - typed.reduction)
    if typed.placebo_reduction is not None or not seen:
        placebo = base * (1 - (typed.placebo_reduction or 0.0))

    def rates_against(endpoint: Endpoint, rate: float, discordance: float | None) -> PairRates:
        if discordance is None and seen:  # as often as seen, so far as the rates allow
            most = most_discordant(rate, steered)
            discordance = min(max(seen[endpoint][1].discordance, abs(rate - steered)), most)
        return rates_between(rate, steered, discordance)

    found = {
        against_none: rates_against(against_none, base, typed.discordance),
        against_placebo: rates_against(against_placebo, placebo, typed.placebo_discordance),
    }
    discordance = typed.success_discordance
    if discordance is None:
        usual = seen[success][1] if seen else found[against_none]
        discordance = max(usual.discordance, abs(typed.success_difference))
    return {**found, success: rates_of(typed.success_difference, discordance)}
