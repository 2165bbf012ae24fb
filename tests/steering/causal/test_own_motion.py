"""The policy's own motion, read off the activations."""

import numpy as np
from sklearn.linear_model import Ridge

from mist_jax.steering.causal.own_motion import commanded, explained, regress_motion


def test_the_regression_is_scikit_learns_ridge():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(60, 5))
    z = (z - z.mean(0)) / z.std(0)
    motion = z @ rng.normal(size=(5, 7)) + rng.normal(size=(60, 7))
    terms = regress_motion(motion, z, ridge=0.3)
    oracle = Ridge(alpha=0.3 * len(z)).fit(z, motion)
    np.testing.assert_allclose(terms[0], oracle.intercept_, atol=1e-5)
    np.testing.assert_allclose(terms[1:], np.asarray(oracle.coef_).T, atol=1e-5)


def test_what_is_commanded_is_what_is_executed_clip_and_gripper_included():
    raw = np.zeros((1, 2, 7), np.float32)
    raw[0, :, 0] = (3.0, 0.5)  # clipped to 1
    raw[0, :, 6] = (0.0, 1.0)  # closed, then open as the model says it
    said = commanded(raw)[0]
    np.testing.assert_allclose(said[[0, 6]], [0.75, 0.0], atol=1e-6)


def test_what_the_features_say_is_explained_and_what_they_do_not_is_not():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, 6)).astype(np.float32)
    motion = np.stack([features[:, 0], rng.normal(size=400), np.ones(400)], axis=1)
    fit = np.arange(400) < 200
    known, unknown, still = explained(motion, features, fit, ~fit, kept=6)
    assert known > 0.95
    assert unknown < 0.2
    assert np.isnan(still)
