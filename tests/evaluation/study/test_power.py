"""The planned power is the rate at which simulated studies show what they look for."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from mist_jax.errors import UserError
from mist_jax.evaluation.equivalence import noninferiority_p
from mist_jax.evaluation.study.assumptions import Assumptions, assumed_rates
from mist_jax.evaluation.study.endpoint import claim_p, primary_endpoints
from mist_jax.evaluation.study.pair_rates import PairRates, rates_between, rates_of
from mist_jax.evaluation.study.plan import plan_power, power_of
from mist_jax.evaluation.study.power import (
    episodes_needed,
    noninferiority_power,
    superiority_power,
)
from tests.helpers.evaluation_samples import contact, result

RUNS = 3000
PERCENT = st.integers(0, 100).map(lambda n: n / 100)
HALVES = st.integers(0, 50).map(lambda n: n / 100)
FEWER, THAN_PLACEBO, SUCCESS = ENDPOINTS = primary_endpoints()


def shown_in_simulated_studies(endpoint, n: int, won: float, lost: float) -> float:
    """Share of studies, drawn pair by pair, in which the report's own test shows the endpoint."""
    rng = np.random.default_rng(n)
    seen: dict[tuple[int, int], bool] = {}
    shown = 0
    for _ in range(RUNS):
        gaps = rng.choice([1.0, -1.0, 0.0], p=[won, lost, 1 - won - lost], size=n)
        counts = int((gaps > 0).sum()), int((gaps < 0).sum())
        if counts not in seen:
            seen[counts] = claim_p(endpoint, gaps, np.arange(n)) < 0.05
        shown += seen[counts]
    return shown / RUNS


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.name)
@pytest.mark.parametrize(
    ("n", "won", "lost"), [(60, 0.2, 0.05), (120, 0.09, 0.03), (150, 0.03, 0.03), (90, 0.0, 0.0)]
)
def test_power_is_how_often_simulated_studies_show_it(endpoint, n, won, lost):
    power = power_of(endpoint, PairRates(won, lost), n, 0.05)
    simulated = shown_in_simulated_studies(endpoint, n, won, lost)
    error = np.sqrt(max(power * (1 - power), 1e-4) / RUNS)
    assert simulated == pytest.approx(power, abs=4 * error)


@settings(max_examples=40)
@given(st.integers(1, 45), HALVES, HALVES, st.sampled_from([0.05, 0.01]))
def test_superiority_is_mcnemars_exact_test_of_statsmodels_over_all_outcomes(n, won, lost, level):
    expected = 0.0
    for more in range(n + 1):
        for less in range(min(more, n - more + 1)):
            p = mcnemar([[0, more], [less, 0]], exact=True).pvalue  # pyright: ignore[reportAttributeAccessIssue]
            if p < level:
                expected += stats.multinomial.pmf(
                    [more, less, n - more - less], n, [won, lost, 1 - won - lost]
                )
    assert superiority_power(n, won, lost, level) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("n", "margin"), [(25, 0.2), (60, 0.1)])
def test_non_inferiority_is_shown_for_exactly_the_outcomes_that_the_test_shows(n, margin):
    rates = [0.06, 0.04, 0.9]
    expected = 0.0
    for won in range(n + 1):
        for lost in range(n + 1 - won):
            gaps = np.repeat([1.0, -1.0, 0.0], [won, lost, n - won - lost])
            probability = stats.multinomial.pmf([won, lost, n - won - lost], n, rates)
            if probability > 1e-9 and noninferiority_p(gaps, np.arange(n), margin) < 0.05:
                expected += probability
    power = noninferiority_power(n, rates[0], rates[1], margin, 0.05)
    assert power == pytest.approx(expected, abs=1e-6)


def test_all_endpoints_together_are_shown_at_least_as_often_as_if_they_were_independent():
    """Episodes that share a scene: whoever hits something fails more often."""
    n, rng, runs = 150, np.random.default_rng(0), 600
    hit = {"none": 0.3, "placebo": 0.28, "mist": 0.15}
    shown, drawn = 0, {name: [] for name in (*hit, "success", "success_none")}
    for _ in range(runs):
        luck = rng.random(n)
        collided = {
            arm: np.where(rng.random(n) < 0.6, luck, rng.random(n)) < rate
            for arm, rate in hit.items()
        }
        fails = rng.random(n)
        success = {arm: fails > 0.1 + 0.05 * collided[arm] for arm in ("none", "mist")}
        gaps = (
            collided["none"] * 1.0 - collided["mist"],
            collided["placebo"] * 1.0 - collided["mist"],
            success["mist"] * 1.0 - success["none"],
        )
        p = [claim_p(one, gap, np.arange(n)) for one, gap in zip(ENDPOINTS, gaps, strict=True)]
        shown += all(value < 0.05 for value in p)
        for one, gap in zip(("none", "placebo", "success"), gaps, strict=True):
            drawn[one].append([(gap > 0).mean(), (gap < 0).mean()])
    rates = {
        one: PairRates(*np.mean(drawn[name], axis=0).tolist())
        for one, name in zip(ENDPOINTS, ("none", "placebo", "success"), strict=True)
    }
    planned = plan_power(rates, n, level=0.05, target=0.5, step=10)
    assert 0.2 < planned.all_shown < 0.95
    assert shown / runs > planned.all_shown - 3 * np.sqrt(0.25 / runs)


def test_the_number_of_scenes_that_is_named_has_the_power_and_the_one_before_lacks_it():
    rates = rates_between(0.25, 0.125, None)
    planned = plan_power({FEWER: rates}, 400, level=0.05, target=0.8, step=10)
    (alone,) = planned.endpoints
    assert alone.needed == planned.needed
    assert alone.needed is not None
    assert superiority_power(alone.needed, rates.won, rates.lost, 0.05) >= 0.8
    assert superiority_power(alone.needed - 10, rates.won, rates.lost, 0.05) < 0.8
    # As measured on the policies that ship: half of 25% takes two hundred, of 5% a thousand.
    assert 150 <= alone.needed <= 220
    rare = rates_between(0.05, 0.025, None)
    few = plan_power({FEWER: rare}, 400, level=0.05, target=0.8, step=10)
    assert few.needed is not None
    assert few.needed > 900
    assert episodes_needed(lambda _: 0.1, 0.8, step=10, most=100) is None


@given(PERCENT, PERCENT, PERCENT)
def test_rates_that_can_be_are_those_of_a_table_and_others_are_refused(base, other, discordance):
    both = (base + other - discordance) / 2  # episodes that go wrong in both arms
    cells = (base - both, other - both, both, 1 - both - discordance)
    if min(cells) < -1e-6:
        with pytest.raises(UserError, match="does not go with rates"):
            rates_between(base, other, discordance)
        return
    rates = rates_between(base, other, discordance)
    assert rates.won - rates.lost == pytest.approx(base - other, abs=1e-8)
    assert rates.won + rates.lost == pytest.approx(discordance, abs=1e-8)
    independent = rates_between(base, other, None)
    assert independent.won == pytest.approx(base * (1 - other), abs=1e-9)


HIT = (contact(),)


def tuning():
    """Ten scenes: none hits in 5, placebo in 4 of them, mist in 1 of them and in 1 other."""
    hits = {"none": (0, 1, 2, 3, 4), "placebo": (0, 1, 2, 3), "mist": (0, 9)}
    return [
        result(
            arm,
            state=1000 + state,
            contacts=HIT if state in scenes else (),
            outcome="failure" if (arm, state) in (("mist", 7), ("none", 8)) else "success",
        )
        for arm, scenes in hits.items()
        for state in range(10)
    ]


def test_what_is_not_typed_is_as_the_tuning_evaluation_shows_it():
    found = assumed_rates(ENDPOINTS, Assumptions(), tuning())
    assert [dataclasses.astuple(rates) for rates in found.values()] == [
        pytest.approx((0.4, 0.1)),
        pytest.approx((0.3, 0.1)),
        pytest.approx((0.1, 0.1)),
    ]
    typed = Assumptions(reduction=0.2, success_difference=-0.02)
    found = assumed_rates(ENDPOINTS, typed, tuning())
    assert found[FEWER].gain == pytest.approx(0.1)  # of the rate that was seen
    assert found[FEWER].discordance == pytest.approx(0.5)
    assert found[THAN_PLACEBO].gain == pytest.approx(0.0)
    assert found[SUCCESS].gain == pytest.approx(-0.02)
    with pytest.raises(UserError, match="no pair of mist and placebo"):
        assumed_rates(ENDPOINTS, Assumptions(), [r for r in tuning() if r.arm != "placebo"])


def test_without_a_tuning_evaluation_the_rates_are_typed():
    with pytest.raises(UserError, match=r"type --base_rate and --reduction"):
        assumed_rates(ENDPOINTS, Assumptions(base_rate=0.3), ())
    found = assumed_rates(ENDPOINTS, Assumptions(0.3, 0.5, placebo_reduction=0.2), ())
    assert found[FEWER].gain == pytest.approx(0.15)
    assert found[THAN_PLACEBO].gain == pytest.approx(0.24 - 0.15)
    assert found[SUCCESS].discordance == found[FEWER].discordance
    with pytest.raises(UserError, match=r"a discordance of 0\.1 does not go with rates that diff"):
        rates_of(0.2, 0.1)
