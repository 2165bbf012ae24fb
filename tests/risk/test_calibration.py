"""Platt's calibration and temperatures against reference fits."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import minimize_scalar
from sklearn.calibration import _sigmoid_calibration

from mist_jax.risk.calibration.calibrate import calibrate
from mist_jax.risk.calibration.platt import fit_platt, smoothed_rate, smoothed_targets
from mist_jax.risk.calibration.temperature import fit_temperature
from mist_jax.risk.judging.metrics import calibration_error


def scores(seed: int, count: int = 400):
    rng = np.random.default_rng(seed)
    logit = rng.normal(size=(count, 1)) * 3
    return logit, rng.random((count, 1)) < 1 / (1 + np.exp(-(0.5 * logit - 1)))


@pytest.mark.parametrize("seed", range(3))
def test_platt_is_sklearns(seed):
    logits, labels = scores(seed)
    ours = fit_platt(logits, labels, np.array([0.3]))
    a, b = _sigmoid_calibration(logits[:, 0], labels[:, 0])
    np.testing.assert_allclose([ours.scale[0], ours.shift[0]], [-a, -b], rtol=2e-3, atol=2e-3)


def test_platt_tends_to_logistic_regression():
    logits, labels = scores(0, 20_000)
    ours = fit_platt(logits, labels, np.array([0.3]))
    design = sm.add_constant(logits[:, 0])
    shift, scale = sm.Logit(labels[:, 0].astype(float), design).fit(disp=0).params
    np.testing.assert_allclose([ours.scale[0], ours.shift[0]], [scale, shift], atol=5e-3)


def test_platt_mends_an_overconfident_head():
    logits, labels = scores(3, 4000)
    raw = 1 / (1 + np.exp(-logits[:, 0]))
    mended = fit_platt(logits[:2000], labels[:2000], np.array([0.3]))(logits)[2000:, 0]
    assert calibration_error(raw[2000:], labels[2000:, 0])[0] > 0.08
    assert calibration_error(mended, labels[2000:, 0])[0] < 0.04


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        (np.zeros(50), "no positive"),
        (np.ones(50), "no negative"),
        (np.arange(50) < 25, "backwards"),
    ],
)
def test_what_says_nothing_gets_the_base_rate(labels, what):
    logits = np.linspace(-2, 2, 50)[:, None]
    platt = fit_platt(logits, labels.astype(bool)[:, None], np.array([0.07]))
    np.testing.assert_allclose(platt(logits), 0.07, rtol=1e-5, err_msg=what)


def test_separable_labels_stay_finite():
    logits = np.linspace(-2, 2, 50)[:, None]
    platt = fit_platt(logits, logits > 0, np.array([0.5]))
    assert np.isfinite([platt.scale, platt.shift]).all()
    assert platt.scale[0] > 0


@pytest.mark.parametrize("seed", range(20))
def test_few_positives_far_out_are_calibrated_and_not_given_up(seed):
    """Plain Newton steps overshoot there, and end where the scores seem to rank backwards."""
    rng = np.random.default_rng(seed)
    label = np.arange(1700) < rng.integers(5, 40)
    far = np.where(label, rng.uniform(2, 12), 0.0)
    logit = far + rng.normal(0, rng.uniform(0.3, 3), len(label))
    platt = fit_platt(logit[:, None], label[:, None], np.asarray([0.01]))
    assert platt.scale[0] > 0
    count = label.sum()
    target = np.where(label, (count + 1) / (count + 2), 1 / (len(label) - count + 2))
    wrong = platt(logit[:, None])[:, 0] - target
    # At the minimum of a smooth convex loss both derivatives vanish.
    assert abs(wrong.mean()) < 1e-5
    assert abs((wrong * logit).mean()) < 1e-4


def test_smoothed_rate_is_never_zero():
    labels = np.zeros((10, 2), bool)
    labels[:3, 1] = True
    np.testing.assert_allclose(smoothed_rate(labels), [0.05, 0.3])


@pytest.mark.parametrize("true_scale", [0.3, 1.0, 4.0])
def test_temperature_is_the_minimum_that_a_derivative_free_search_finds(true_scale):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3000, 1))
    labels = rng.random((3000, 1)) < 1 / (1 + np.exp(-true_scale * logits))
    target = smoothed_targets(labels[:, 0])

    def loss(scale):
        p = 1 / (1 + np.exp(-scale * logits[:, 0]))
        return -(target * np.log(p) + (1 - target) * np.log(1 - p)).sum()

    best = minimize_scalar(loss, bracket=(0.1, 2.0), method="brent").x
    found = fit_temperature(logits, labels)
    np.testing.assert_allclose(found.scale[0], best, rtol=1e-4)
    assert found.shift[0] == 0
    assert found.scale[0] == pytest.approx(true_scale, rel=0.2)


def test_a_temperature_is_taken_where_a_shift_is_not_worth_its_price():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4000, 2)).astype(np.float32)
    odds = np.stack([2 * logits[:, 0], 2 * logits[:, 1] - 2], axis=1)
    labels = rng.random((4000, 2)) < 1 / (1 + np.exp(-odds))
    usable, base = np.ones(2, bool), labels.mean(axis=0)
    best = calibrate(logits, labels, base, usable)
    assert best.shift[0] == 0
    np.testing.assert_allclose(best.shift[1], fit_platt(logits, labels, base).shift[1])
    assert calibrate(logits, labels, base, usable, "platt").shift[0] != 0
    assert not calibrate(logits, labels, base, usable, "temperature").shift.any()


@pytest.mark.parametrize("method", ["best", "platt", "temperature"])
def test_unusable_or_backward_motions_say_their_base_rate_by_every_method(method):
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(500, 2))
    labels = rng.random((500, 2)) < 1 / (1 + np.exp([3, -3] * logits))
    found = calibrate(logits, labels, np.asarray([0.1, 0.3]), np.asarray([True, False]), method)
    np.testing.assert_allclose(found(logits), np.tile([0.1, 0.3], (500, 1)), rtol=1e-5)
