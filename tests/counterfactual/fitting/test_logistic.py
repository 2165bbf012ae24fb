"""Logistic regression within and across forks, against statsmodels and scikit-learn."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from statsmodels.discrete.conditional_models import ConditionalLogit

from mist_jax.counterfactual.fitting.logistic import fit_across, fit_within, within_likelihood

TERMS = np.asarray([[0, 0], [1, 1], [-1, 1], [0.5, 0.25]], float)


def forks(count: int = 300, k: int = 2, seed: int = 0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, k))
    own = rng.normal(scale=2.0, size=count)  # what makes a fork risky and nobody can read
    offset, interaction = np.asarray([0.5, -1.0]), rng.normal(size=(k, 2))
    score = own[:, None] + (offset + z @ interaction) @ TERMS.T
    return z, rng.random(score.shape) < expit(score), (offset, interaction)


def test_the_effect_within_forks_is_that_of_statsmodels_conditional_logit():
    z, positive, _ = forks()
    offset, interaction = fit_within(z, TERMS, positive, ridge=0.0)
    design = np.concatenate([np.ones((len(z), 1)), z], axis=1)
    rows = np.einsum("fi,kt->fkit", design, TERMS).reshape(len(z) * len(TERMS), -1)
    group = np.repeat(np.arange(len(z)), len(TERMS))
    mixed = np.isin(group, np.flatnonzero(positive.any(1) & ~positive.all(1)))
    model = ConditionalLogit(
        positive.ravel()[mixed].astype(float), rows[mixed], groups=group[mixed]
    )
    # The ridge of the average effect is the same on both sides.
    slight = np.concatenate([np.ones(2), np.zeros(4)])
    oracle = np.asarray(model.fit(disp=False).params)
    ours = np.concatenate([offset[None], interaction]).ravel()
    slope = np.asarray(model.score(ours))
    np.testing.assert_allclose(slope, slight * ours, atol=1e-3)
    np.testing.assert_allclose(ours, oracle, atol=0.1)
    said = within_likelihood(z, TERMS, positive, (offset, interaction)).sum()
    assert said == pytest.approx(model.loglike(ours), rel=1e-6)


def test_what_makes_a_whole_fork_risky_does_not_bias_the_effect():
    z, positive, (offset, interaction) = forks(count=6000)
    found = fit_within(z, TERMS, positive, ridge=0.0)
    np.testing.assert_allclose(found[0], offset, atol=0.15)
    np.testing.assert_allclose(found[1], interaction, atol=0.15)


def test_an_infinite_ridge_leaves_no_interaction():
    z, positive, _ = forks()
    offset, interaction = fit_within(z, TERMS, positive, ridge=np.inf)
    assert interaction.shape == (0, 2)
    near, little = fit_within(z, TERMS, positive, ridge=1e7)
    np.testing.assert_allclose(near, offset, atol=1e-3)
    assert np.abs(little).max() < 1e-3


def test_the_main_effect_is_that_of_scikit_learn():
    z, positive, effect = forks()
    found = fit_across(z, TERMS, positive, effect, ridge=3.0)
    moved = (effect[0] + z @ effect[1]) @ TERMS.T
    factor = found.offset[0] / effect[0][0]
    # Given the factor, the rest is a plain ridge regression on residual odds: check optimality by
    # scikit-learn on (z, moved) with the factor's pull negligible.
    rows = np.concatenate(
        [np.repeat(z, len(TERMS), axis=0) / np.sqrt(3.0), moved.reshape(-1, 1) * 100], axis=1
    )
    oracle = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000).fit(rows, positive.ravel())
    np.testing.assert_allclose(oracle.coef_[0, :2] / np.sqrt(3.0), found.main, atol=2e-2)
    np.testing.assert_allclose(oracle.coef_[0, 2] * 100, factor, atol=2e-2)
    np.testing.assert_allclose(oracle.intercept_[0], found.bias, atol=2e-2)


def test_an_effect_that_the_branches_contradict_is_scaled_to_nothing():
    z, positive, (offset, interaction) = forks()
    found = fit_across(z, TERMS, positive, (-5 * offset, -5 * interaction), ridge=1.0)
    assert np.abs(found.offset).max() < 1e-6
    base = positive.mean()
    assert found.probability(z, TERMS).mean() == pytest.approx(base, abs=0.01)
