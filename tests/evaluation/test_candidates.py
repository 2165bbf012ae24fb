"""Candidates: drawn per scene and query, judged in the forward, the best added to the actions."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.evaluation.arms.beforehand.draws import random_changes
from mist_jax.evaluation.arms.build import build_arms
from mist_jax.intervention.intent.sampled_value import SAMPLES
from tests.helpers.arm_samples import NEVER, SIZE, actor_of, answers, numbers_of, turn
from tests.helpers.causal_samples import tiny_action_value

NAMES = ("none", "candidates", "mist")
XYZ = np.arange(7) < 3


def drawn(bank, state: int = 0, query: int = 0, name: str = "candidates") -> np.ndarray:
    (numbers,) = (
        build_arms((name,), numbers_of(bank))[name].pushes(turn(name, state), query).values()
    )
    assert numbers.candidates is not None
    return numbers.candidates


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def numbers_read(policy, bank) -> np.ndarray:
    """What the bank's projection makes of the activations, read as a user would."""
    site = bank.metadata.site
    inputs = [turn("none").inputs] * len(NAMES)
    read = policy.predict_inputs(inputs, sites=(site,)).activations[site][0, bank.metadata.layer]
    return np.asarray((read - bank.projection.mean) @ bank.projection.basis / bank.projection.scale)


def test_the_candidate_of_least_cost_is_added_to_every_action_and_no_activation_touched(
    policy, bank
):
    told = answers(policy, numbers_of(bank), NAMES)
    value, changes, z = bank.intents["action_value"], drawn(bank), numbers_read(policy, bank)
    relative = changes / np.asarray(value.size)
    terms = np.concatenate([relative, relative**2], axis=1)
    effect = terms @ (np.asarray(value.harm.offset) + z @ np.asarray(value.harm.interaction))
    cost = sigmoid(float(value.harm.bias) + effect) + 0.01 * (relative**2).sum(axis=1)
    best = changes[cost.argmin()]
    assert cost.min() < sigmoid(float(value.harm.bias))
    np.testing.assert_array_equal(told["candidates"].wanted, best)
    expected = np.clip(told["none"].chunk + best, -1, 1)
    np.testing.assert_array_equal(told["candidates"].chunk, expected)
    np.testing.assert_array_equal(told["candidates"].raw_actions, told["none"].raw_actions)
    assert not told["candidates"].gate.any()
    assert np.linalg.norm(best) <= SIZE[0] * (1 + 1e-6)


def test_without_an_alarm_or_without_gain_nothing_is_done(policy, bank):
    careful = {**bank.intents, "action_value": tiny_action_value(bank, SIZE, margin=0.99)}
    for numbers in (
        numbers_of(bank, NEVER),
        numbers_of(dataclasses.replace(bank, intents=careful)),
    ):
        told = answers(policy, numbers, NAMES)["candidates"]
        assert not told.edited
        assert not told.wanted.any()


def test_a_brake_takes_the_policys_own_motion_away_as_for_the_other_arms(policy, bank):
    best = answers(policy, numbers_of(bank), NAMES)["candidates"].wanted
    braked = answers(policy, numbers_of(bank, brake=1.0), NAMES)["candidates"].wanted
    z = numbers_read(policy, bank)
    own = np.asarray(bank.own[0] + z @ bank.own[1:])
    away = best[:3] / np.linalg.norm(best[:3])
    expected = best[:3] + max(0.0, -float(own[:3] @ away)) * away
    np.testing.assert_allclose(braked[:3], expected, rtol=1e-4, atol=1e-6)


def test_candidates_are_those_of_the_scene_and_the_query_whoever_shares_the_batch(policy, bank):
    np.testing.assert_array_equal(drawn(bank, 3, 2), drawn(bank, 3, 2))
    others = [(state, query) for state in range(4) for query in range(4)]
    assert len({drawn(bank, *one).tobytes() for one in others}) == len(others)
    alone = actor_of(policy, numbers_of(bank), NAMES)
    many = alone.answer([turn("candidates", 3), turn("candidates", 5), turn("mist", 3)], [0] * 3)
    again = actor_of(policy, numbers_of(bank), NAMES).answer([turn("candidates", 3)], [0])
    np.testing.assert_array_equal(many[0].chunk, again[0].chunk)


def test_draws_fill_the_ball_of_the_dose_in_the_tried_dimensions_alone():
    size = np.array([0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0], np.float32)
    changes = random_changes(np.random.default_rng(0), 4000, size, XYZ)
    length = np.linalg.norm(changes, axis=1)
    assert length.max() <= 0.2 * (1 + 1e-6)
    assert not changes[:, 3:].any()
    # Uniform in a ball: an eighth is within half its radius, and no way is preferred.
    assert abs((length < 0.1).mean() - 1 / 8) < 0.02
    np.testing.assert_allclose(changes[:, :3].mean(axis=0), 0, atol=0.01)
    both = random_changes(np.random.default_rng(0), SAMPLES, size, np.arange(7) < 6)
    assert (np.linalg.norm(both[:, 3:6], axis=1) <= 0.1 * (1 + 1e-6)).all()
    assert both[:, 3:6].any()
    assert not both[:, 6].any()
    assert not random_changes(np.random.default_rng(0), SAMPLES, 0 * size, XYZ).any()


def test_a_bank_that_no_branches_taught_cannot_judge_candidates(policy, bank):
    plain = dataclasses.replace(bank, intents={})
    with pytest.raises(UserError, match="no value of actions to judge candidates by"):
        actor_of(policy, numbers_of(plain), ("candidates",))
