"""Alarm rules keep their rate: by the law of exchangeable episodes, and in simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mist_jax.risk.calibration.adaptive import AdaptiveConformal
from mist_jax.risk.calibration.order_statistic import conformal_quantile
from mist_jax.risk.calibration.paths import ScorePaths
from mist_jax.risk.calibration.registry import ALARM_RULES, SPLIT_CONFORMAL
from mist_jax.risk.calibration.sequential import Sequential, wealth
from mist_jax.risk.calibration.split_conformal import alarm_threshold, largest_risk

RATE = 0.15
EXCHANGEABLE = [name for name in ALARM_RULES if name != "adaptive conformal"]
numbers = st.integers(0, 10_000).map(np.random.default_rng)


def paths_of(parts, clean=None) -> ScorePaths:
    """One array of scores per episode."""
    lengths = [len(part) for part in parts]
    clean = np.ones(len(parts), bool) if clean is None else np.asarray(clean)
    return ScorePaths(
        score=np.concatenate(parts),
        episode=np.repeat(np.arange(len(parts)), lengths),
        query=np.concatenate([np.arange(length) for length in lengths]),
        clean=np.repeat(clean, lengths),
    )


def wandering(rng: np.random.Generator, count: int, shift: float = 0.0) -> list[np.ndarray]:
    """Autocorrelated paths of different lengths and temperaments that drift upwards."""
    parts = []
    for _ in range(count):
        length = int(rng.integers(4, 20))
        noise = rng.normal(size=length)
        path = np.convolve(noise, 0.8 ** np.arange(length))[:length] * rng.gamma(2.0, 0.5)
        parts.append(path + 0.1 * np.arange(length) + shift)
    return parts


def alarmed(raised: np.ndarray, paths: ScorePaths) -> np.ndarray:
    """bool [episodes]."""
    return np.bincount(paths.number, raised, paths.count) > 0


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=40),
    st.fractions(0, 1).map(lambda share: float(share)),
)
def test_of_exchangeable_numbers_one_in_its_turn_is_above_the_others_quantile(values, rate):
    """The law itself: each of n + 1 is the new one once; ties only help."""
    above = [
        value > conformal_quantile(np.asarray([*values[:i], *values[i + 1 :]], float), rate)
        for i, value in enumerate(values)
    ]
    assert np.mean(above) <= rate + 1e-9
    if len(set(values)) == len(values):
        assert np.mean(above) >= rate - 1 / len(values) - 1e-9, "and not less than it must be"


@pytest.mark.parametrize(("count", "rate", "rank"), [(9, 0.1, 9), (19, 0.15, 17), (99, 0.05, 95)])
def test_the_order_statistic_is_exact_where_floats_round(count, rate, rank):
    assert conformal_quantile(np.arange(1.0, count + 1), rate) == rank


@pytest.mark.parametrize("rule", ["functional band", "sequential"])
@settings(max_examples=15)
@given(rng=numbers, rate=st.sampled_from([0.1, 0.15, 0.3, 0.5]))
def test_a_clean_episode_in_its_turn_is_alarmed_no_more_often_than_stated(rule, rng, rate):
    """Each of the episodes that set the level takes the place of the new one once."""
    parts = wandering(rng, 30)
    shape, level = parts[1::2][:14], parts[0::2]  # as `halves` divides them
    hits = []
    for i in range(len(level)):
        rest = level[:i] + level[i + 1 :]
        known = [part for pair in zip(rest, shape, strict=True) for part in pair]
        new = paths_of([level[i]])
        hits.append(ALARM_RULES[rule].fit(paths_of(known), rate).raised(new).any())
    assert np.mean(hits) <= rate + 1e-9


@pytest.mark.parametrize("rule", EXCHANGEABLE)
def test_new_clean_episodes_keep_the_stated_rate_at_any_time(rule):
    """Over whole episodes: whenever one stops looking, at most this share has been alarmed."""
    rng, shares = np.random.default_rng(0), []
    for _ in range(150):
        fitted = ALARM_RULES[rule].fit(paths_of(wandering(rng, 79)), RATE)
        new = paths_of(wandering(rng, 40))
        shares.append(alarmed(fitted.raised(new), new).mean())
    error = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) <= RATE + 3 * error
    least = RATE - 1 / (40 if rule != SPLIT_CONFORMAL.name else 80)
    assert np.mean(shares) >= least - 3 * error, "a rule that never alarms would be safe, and idle"


@pytest.mark.parametrize("rule", list(ALARM_RULES))
@settings(max_examples=20)
@given(rng=numbers)
def test_no_rule_looks_ahead(rule, rng):
    """What is said of a query is the same if the episode, and the stream, end with it."""
    fitted = ALARM_RULES[rule].fit(paths_of(wandering(rng, 40)), RATE)
    parts = wandering(rng, 5, shift=1.0)
    clean = rng.random(5) < 0.7
    whole = paths_of(parts, clean)
    raised = fitted.raised(whole)
    episode = int(rng.integers(0, 5))
    end = int(rng.integers(1, len(parts[episode]) + 1))
    cut = paths_of([*parts[:episode], parts[episode][:end]], [*clean[:episode], not clean[episode]])
    np.testing.assert_array_equal(fitted.raised(cut), raised[: len(cut)])


@pytest.mark.parametrize("rule", list(ALARM_RULES))
def test_every_rule_finds_what_rises_and_too_few_clean_episodes_raise_nothing(rule):
    rng = np.random.default_rng(3)
    fitted = ALARM_RULES[rule].fit(paths_of(wandering(rng, 80)), RATE)
    rising = [part + 1.5 * np.arange(len(part)) for part in wandering(rng, 60)]
    found = paths_of(rising, np.zeros(60, bool))
    assert alarmed(fitted.raised(found), found).mean() > 0.7
    few = ALARM_RULES[rule].fit(paths_of(wandering(rng, 2)), RATE)
    assert not few.raised(found).any()
    none = ALARM_RULES[rule].fit(paths_of([np.zeros(0)]), RATE)
    assert not none.raised(found).any()


@settings(max_examples=50)
@given(
    st.lists(st.floats(-5, 5), min_size=0, max_size=30),
    st.lists(st.floats(-5, 5), min_size=1, max_size=300),
    st.sampled_from([0.05, 0.15, 0.5]),
    st.sampled_from([0.02, 0.1]),
)
def test_adaptive_conformal_keeps_its_rate_on_any_sequence(known, stream, rate, step):
    """Gibbs & Candes 2021, proposition 4.1: no assumption at all, adversaries included."""
    start = paths_of([np.asarray([one]) for one in known] or [np.zeros(0)])
    fitted = AdaptiveConformal(step).fit(start, rate)
    paths = paths_of([np.asarray([one]) for one in stream])
    gap = abs(fitted.raised(paths).mean() - rate)
    assert gap <= (max(rate, 1 - rate) + step) / (step * len(stream)) + 1e-9


def test_adaptive_conformal_recovers_where_tasks_shift_and_split_conformal_does_not():
    rng = np.random.default_rng(0)
    known, strange = paths_of(wandering(rng, 100)), paths_of(wandering(rng, 600, shift=2.0))
    shares = {}
    for rule in ("adaptive conformal", "split conformal"):
        raised = ALARM_RULES[rule].fit(known, RATE).raised(strange)
        shares[rule] = alarmed(raised, strange)[200:].mean()
    assert shares["adaptive conformal"] == pytest.approx(RATE, abs=0.06)
    assert shares["split conformal"] > 0.4


def test_wealth_is_no_martingale_on_dependent_queries_and_the_order_statistic_is_needed():
    """Ville's threshold, 1 / rate, is crossed too often; the fitted one is not."""
    rng, ville, fitted, rate = np.random.default_rng(1), [], [], 0.05
    for _ in range(60):
        # One draw for all of an episode's queries, and a little noise.
        stubborn = [rng.normal() + 0.05 * rng.normal(size=16) for _ in range(160)]
        alarm = Sequential().fit(paths_of(stubborn[:100]), rate)
        new = paths_of(stubborn[100:])
        ville.append(alarmed(wealth(new, alarm.reference) > np.log(1 / rate), new).mean())
        fitted.append(alarmed(alarm.raised(new), new).mean())
    assert np.mean(ville) > 1.7 * rate
    assert np.mean(fitted) < rate + 0.015


@settings(max_examples=40)
@given(numbers, st.integers(1, 60), st.floats(0.05, 0.5), st.integers(1, 14))
def test_any_gate_opens_in_no_more_clean_episodes_than_the_rank_allows(
    rng, episodes, rate, motions
):
    risk = rng.random((episodes * 5, 14)).astype(np.float32)
    usable = np.arange(14) < motions
    parts = np.split(largest_risk(risk, usable), episodes)
    alarm = alarm_threshold(paths_of(parts), usable, rate)
    assert np.isinf(alarm.threshold[~usable]).all()
    assert len(np.unique(alarm.threshold[usable])) == 1, "a probability is one, of every motion"
    if alarm.unit == "episode":
        crossed = (risk > alarm.threshold).any(axis=1).reshape(episodes, 5).any(axis=1)
        assert crossed.sum() + 1 <= rate * (episodes + 1) + 1e-9
        level = SPLIT_CONFORMAL.fit(paths_of(parts), rate).raised(paths_of(parts))
        np.testing.assert_array_equal(level, (risk > alarm.threshold).any(axis=1))
    else:
        assert np.ceil((episodes + 1) * (1 - rate) - 1e-9) > episodes


def test_without_clean_queries_nothing_is_ever_raised():
    usable = np.ones(14, bool)
    alarm = alarm_threshold(paths_of([np.zeros(0)]), usable, RATE)
    assert alarm.unit == "none"
    assert np.isinf(alarm.threshold).all()
    assert not largest_risk(np.ones((6, 14)), ~usable).any()
