"""Conceptors against what defines them: a ridge autoencoder, and Jaeger's Boolean laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from mist_jax.steering.conceptors.algebra import SoftProjection, conceptor

WIDTH = 6


def cloud(seed: int, count: int, width: int = WIDTH) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, width)) * rng.uniform(0.1, 3.0, width)


def matrix(soft: SoftProjection) -> np.ndarray:
    return soft.basis @ np.diag(soft.kept) @ soft.basis.T


def mean_rows(states: np.ndarray) -> np.ndarray:
    return states / np.sqrt(len(states))


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    count=st.sampled_from([3, 5, 6, 40]),
    aperture=st.sampled_from([0.1, 1.0, 10.0]),
)
def test_a_conceptor_is_the_ridge_autoencoder_of_its_states(seed, count, aperture):
    """C minimises mean |x - C x|^2 + aperture^-2 |C|^2: sklearn solves the same."""
    states = cloud(seed, count)
    ridge = Ridge(alpha=count * aperture**-2, fit_intercept=False, solver="svd")
    ridge.fit(states, states)
    found = conceptor(mean_rows(states), aperture, WIDTH)
    np.testing.assert_allclose(matrix(found), ridge.coef_, atol=1e-8)
    assert found.quota == pytest.approx(np.trace(ridge.coef_) / WIDTH)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), aperture=st.sampled_from([0.3, 1.0, 3.0]))
def test_without_is_and_not_by_jaegers_inverses(seed, aperture):
    safe, risky = mean_rows(cloud(seed, 30)), mean_rows(cloud(seed + 1, 30))
    unit = np.eye(WIDTH)

    def closed(rows):
        second = rows.T @ rows
        return second @ np.linalg.inv(second + aperture**-2 * unit)

    both = np.linalg.inv(np.linalg.inv(closed(safe)) + np.linalg.inv(unit - closed(risky)) - unit)
    found = conceptor(safe, aperture, WIDTH, without=risky)
    np.testing.assert_allclose(matrix(found), both, atol=1e-8)


def test_what_only_the_safe_do_is_kept_and_what_the_risky_do_is_taken_away():
    safe, risky = np.zeros((2, 4)), np.zeros((2, 4))
    safe[0, 0] = safe[1, 1] = 10.0
    risky[0, 1] = risky[1, 2] = 10.0
    found = matrix(conceptor(safe, 1.0, 4, without=risky))
    np.testing.assert_allclose(np.diag(found), [1, 0, 0, 0], atol=0.02)


def test_fewer_states_than_dimensions_and_a_cut_rank_keep_the_largest_parts():
    states = mean_rows(cloud(0, 3, width=50))
    whole, cut = conceptor(states, 2.0, 50), conceptor(states, 2.0, 2)
    assert whole.basis.shape == (50, 3)
    np.testing.assert_allclose(cut.kept, whole.kept[:2])
    np.testing.assert_allclose(whole.basis.T @ whole.basis, np.eye(3), atol=1e-10)
    np.testing.assert_allclose(cut(states), states @ matrix(cut))


def test_a_wide_aperture_keeps_everything_and_a_narrow_one_nothing():
    states = mean_rows(cloud(1, 40))
    assert conceptor(states, 1e4, WIDTH).quota == pytest.approx(1, abs=1e-3)
    assert conceptor(states, 1e-4, WIDTH).quota == pytest.approx(0, abs=1e-3)
