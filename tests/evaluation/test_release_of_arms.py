"""Arms that let go: the query is the unsteered one again, and one trace serves every release."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from mist_jax.evaluation.arms.brakes import RELEASE
from mist_jax.evaluation.arms.build import build_arms
from mist_jax.policy.forward import forward
from mist_jax.rollout.acting.arm import Said
from mist_jax.rollout.acting.release import Release
from tests.helpers.arm_samples import actor_of, numbers_of, turn
from tests.helpers.rollout_samples import SMALL
from tests.helpers.toy_reader import ToyReader

GATED = ("none", "mist", "placebo", "flipped", "noise", "action_edit", "directions", "conceptor")
ONE_DOSE = GATED[1:]
QUERIES = 5


def falling() -> ToyReader:
    """Risk that falls from query to query, of the same inputs."""
    made = ToyReader.of({"llm.resid": (0, SMALL.width)}, layer=0)
    return dataclasses.replace(made, drift=jnp.asarray(-0.5, jnp.float32))


def episode(policy, numbers, names=GATED, queries=QUERIES, head=None) -> list[dict[str, Any]]:
    """Every query's answers by arm, of the same inputs at each."""
    actor, turns = actor_of(policy, numbers, names, head=head), [turn(name) for name in names]
    told = [actor.answer(turns, [query] * len(turns)) for query in range(queries)]
    return [dict(zip(names, answers, strict=True)) for answers in told]


def acts(answer) -> bool:
    return bool(answer.gate.any() or answer.edited)


def test_arms_of_one_dose_let_go_together_and_are_the_unsteered_policy_bit_for_bit(policy, bank):
    told = episode(policy, numbers_of(bank, release=Release(2)))
    for query, answers in enumerate(told):
        for name in ONE_DOSE:
            assert acts(answers[name]) == (query < 2), (name, query)
            if query >= 2:
                np.testing.assert_array_equal(answers[name].chunk, answers["none"].chunk)
                np.testing.assert_array_equal(
                    answers[name].raw_actions, answers["none"].raw_actions
                )
                assert not answers[name].wanted.any()
                assert not answers[name].realised.any()
        np.testing.assert_array_equal(answers["none"].chunk, told[0]["none"].chunk)


def test_no_release_is_what_was_there_before(policy, bank):
    told = episode(policy, numbers_of(bank))
    for answers in told:
        for name in ONE_DOSE:
            np.testing.assert_array_equal(answers[name].chunk, told[0][name].chunk)
            assert acts(answers[name])


def test_a_hold_keeps_the_push_on_until_the_risk_has_fallen_to_its_share(policy, bank):
    quiet = numbers_of(bank, np.full(14, np.inf))
    falls = [answers["none"].risk for answers in episode(policy, quiet, head=falling())]
    motion = int(np.argmax(falls[0]))
    risk = [float(one[motion]) for one in falls]
    assert sorted(risk, reverse=True) == risk
    threshold = np.full(14, np.inf, np.float32)
    threshold[motion] = (risk[0] + risk[1]) / 2  # one query is above it
    hold = (risk[2] + risk[3]) / 2 / float(threshold[motion])  # three are above this share
    at = {"threshold": threshold, "size": np.full(7, 0.01, np.float32)}
    for share, queries in ((1.0, 1), (hold, 3)):
        told = episode(policy, numbers_of(bank, **at, release=Release(hold=share)), head=falling())
        for name in ("mist", "placebo", "action_edit"):
            said = [acts(answers[name]) for answers in told]
            assert said == [query < queries for query in range(QUERIES)], (name, share)
    both = episode(policy, numbers_of(bank, **at, release=Release(2, hold)), head=falling())
    assert [acts(answers["mist"]) for answers in both] == [True, True, False, False, False]


def test_one_trace_serves_every_release(policy, bank):
    compiled: Any = forward
    episode(policy, numbers_of(bank), queries=2)
    before = compiled._cache_size()
    for release in (Release(1), Release(2, 0.5), Release(0, 0.1)):
        episode(policy, numbers_of(bank, release=release), queries=3)
    assert compiled._cache_size() == before


def test_an_episode_that_begins_anew_is_pushed_anew(policy, bank):
    actor = actor_of(policy, numbers_of(bank, release=Release(1)), ("mist",))
    told = [acts(actor.answer([turn("mist")], [query])[0]) for query in (0, 1, 0, 1)]
    assert told == [True, False, True, False]


def test_a_stop_lets_go_after_some_alarms_in_a_row_whatever_the_runs_release(policy, bank):
    told = episode(policy, numbers_of(bank, release=Release(1)), ("safe_stop", "none"))
    edited = [answers["safe_stop"].edited for answers in told]
    assert edited == [query < RELEASE for query in range(QUERIES)]


@pytest.mark.parametrize("name", ["safe_stop", "slow_down", "lift"])
def test_a_brake_leaves_a_query_alone_without_alarm_or_once_released(bank, name):
    arm = build_arms((name,), numbers_of(bank))[name]
    chunk, rng, zero = np.ones((8, 7), np.float32), np.random.default_rng(0), np.zeros(14, "f")
    for said in (Said(zero, zero[:7], 0), Said(zero, zero[:7], 4, released=True)):
        np.testing.assert_array_equal(arm.edit(chunk, said, turn(name), rng), chunk)
    assert not np.array_equal(arm.edit(chunk, Said(zero, zero[:7], 1), turn(name), rng), chunk)
