"""The expert's correction, learnt from activations."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mist_jax.counterfactual.fitting.correction import (
    NEAR_WEIGHT,
    CorrectionTable,
    _ridge,
    fit_correction,
    gather_corrections,
)
from mist_jax.errors import UserError
from tests.helpers import synthetic_episodes


def table_of(known: float, states: int = 600) -> CorrectionTable:
    """Changes of which `known` is said by features, the rest is noise."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(states, 40)).astype(np.float32)
    told = features @ rng.normal(size=(40, 3)) / np.sqrt(40)
    change = known * told + (1 - known) * rng.normal(size=(states, 3))
    scene = np.repeat(np.arange(states // 10), 10)
    return CorrectionTable(features, change.astype(np.float32), np.ones(states), scene)


def test_a_correction_that_the_features_hold_is_learnt_and_noise_is_not():
    assert fit_correction(table_of(1.0)).explained > 0.9
    assert fit_correction(table_of(0.0)).explained < 0.1


def test_the_forward_says_the_same_change_no_longer_than_its_size():
    table = table_of(1.0)
    fitted = fit_correction(table)
    count, said = len(table), fitted(table.features)
    opened, risk = jnp.ones((count, 1)), jnp.zeros((count, 14))
    wanted = np.asarray(fitted.intent(0.5).wanted(jnp.asarray(table.features), opened, risk))
    length = np.linalg.norm(said, axis=1, keepdims=True)
    assert (length < 0.5).any()
    assert (length > 0.5).any()
    np.testing.assert_allclose(wanted[:, :3], said * np.minimum(1, 0.5 / length), atol=1e-4)
    assert not wanted[:, 3:].any()


def test_the_regression_is_scikit_learns_weighted_ridge():
    rng = np.random.default_rng(0)
    z, change = rng.normal(size=(40, 5)), rng.normal(size=(40, 3))
    weight = rng.uniform(1, 5, 40)
    slopes, bias = _ridge(z, change, weight, 0.3)
    oracle = Ridge(alpha=0.3 * weight.sum()).fit(z, change, sample_weight=weight)
    np.testing.assert_allclose(slopes, oracle.coef_.T, atol=1e-8)
    np.testing.assert_allclose(bias, oracle.intercept_, atol=1e-8)


def test_queries_with_the_experts_chunk_count_until_the_first_harm_and_more_just_before_it():
    rng = np.random.default_rng(0)
    activation = rng.normal(size=(12, 1, 4)).astype(np.float32)
    episode = synthetic_episodes.episode(
        [synthetic_episodes.contact(43, {2: 1.0})], activation=activation
    )
    labels = rng.uniform(-1, 1, (12, 8, 7)).astype(np.float32)
    commanded = rng.uniform(-1, 1, episode.steps.action.shape).astype(np.float32)
    labelled = dataclasses.replace(
        episode,
        queries=dataclasses.replace(episode.queries, expert=labels),
        steps=dataclasses.replace(episode.steps, commanded=commanded),  # a perturbation acted
    )
    table = gather_corrections([episode, labelled], ("action",), 0)
    np.testing.assert_array_equal(table.features, activation[:6, 0])  # of steps 0 to 40
    own = commanded[:48].reshape(6, 8, 7)
    expected = labels[:6, :, :3].mean(axis=1) - own[:, :, :3].mean(axis=1)
    np.testing.assert_allclose(table.change, expected, atol=1e-6)
    np.testing.assert_array_equal(table.weight, [1, 1, *[NEAR_WEIGHT] * 4])
    with pytest.raises(UserError, match="--expert_labels"):
        gather_corrections([episode], ("action",), 0)


def test_too_few_queries_are_refused():
    with pytest.raises(UserError, match="at least 200"):
        fit_correction(table_of(1.0, states=100))
