"""Linear CKA: against its definitions, and what it must not notice."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mist_jax.analysis.similarity import linear_cka
from mist_jax.errors import UserError


def tables(samples: int, features: int, others: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    x, noise = rng.normal(size=(samples, features)), rng.normal(size=(samples, others))
    return x, x @ rng.normal(size=(features, others)) + noise


def test_the_biased_one_is_the_ratio_of_hsics_with_a_centring_matrix():
    x, y = tables(9, 5, 4)
    centre = np.eye(9) - 1 / 9

    def hsic(a, b):
        return np.trace(a @ a.T @ centre @ b @ b.T @ centre)

    wanted = hsic(x, y) / math.sqrt(hsic(x, x) * hsic(y, y))
    assert linear_cka(x, y, debiased=False) == pytest.approx(wanted, rel=1e-10)


def test_the_debiased_one_is_the_mean_over_quadruples_of_samples():
    """Song et al. (2012): HSIC as a U-statistic, every four different samples once."""
    x, y = tables(6, 3, 2)

    def hsic(a, b):
        k, m = a @ a.T, b @ b.T
        terms = [
            k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
            for i, j, q, r in itertools.permutations(range(len(a)), 4)
        ]
        return np.mean(terms)

    wanted = hsic(x, y) / math.sqrt(hsic(x, x) * hsic(y, y))
    assert linear_cka(x, y) == pytest.approx(wanted, rel=1e-10)


def test_of_single_features_it_is_the_squared_correlation():
    x, y = tables(12, 1, 1)
    correlation = np.corrcoef(x[:, 0], y[:, 0])[0, 1]
    assert linear_cka(x, y, debiased=False) == pytest.approx(correlation**2, rel=1e-10)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.booleans(), st.floats(0.1, 10))
def test_turning_scaling_and_shifting_change_nothing(seed, debiased, scale):
    x, y = tables(10, 5, 4, seed)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(5, 5)))[0]
    moved = scale * x @ turn + 3
    before = linear_cka(x, y, debiased=debiased)
    assert linear_cka(moved, y, debiased=debiased) == pytest.approx(before, abs=1e-8)
    assert linear_cka(y, x, debiased=debiased) == pytest.approx(before, abs=1e-8)
    assert linear_cka(x, moved, debiased=debiased) == pytest.approx(1, abs=1e-8)


def test_few_samples_of_wide_noise_look_alike_only_without_the_correction():
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(20, 200)), rng.normal(size=(20, 200))) for _ in range(20)]
    assert min(linear_cka(x, y, debiased=False) for x, y in pairs) > 0.8
    assert abs(np.mean([linear_cka(x, y) for x, y in pairs])) < 0.1


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((5, 2)), np.eye(5), "differ between samples"),
        (np.eye(5), np.eye(4), "two tables"),
        (np.ones(5), np.eye(5), "two tables"),
        (np.eye(3), np.eye(3), "at least 4 samples, not 3"),
        (np.eye(5) * np.nan, np.eye(5), "finite"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(x, y, message):
    with pytest.raises(UserError, match=message) as error:
        linear_cka(x, y)
    assert "\n" not in str(error.value)
