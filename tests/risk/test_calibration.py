"""Platt's calibration against a reference fit, and thresholds that keep their promise."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import _sigmoid_calibration

from mist_jax.risk.calibration import alarm_threshold, fit_platt, smoothed_rate
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


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 60), st.floats(0.05, 0.5), st.integers(1, 7))
def test_calibration_episodes_cross_no_more_than_the_rank_allows(seed, episodes, rate, dims):
    rng = np.random.default_rng(seed)
    risk = rng.random((episodes * 5, 7))
    episode = np.repeat(np.arange(episodes), 5)
    usable = np.arange(7) < dims
    clean = np.ones(episodes, bool)
    alarm = alarm_threshold(risk, episode, clean, usable, np.full(7, 0.2), rate)
    assert np.isinf(alarm.threshold[~usable]).all()
    if alarm.unit == "episode":
        crossed = (risk > alarm.threshold).any(axis=1).reshape(episodes, 5).any(axis=1)
        assert crossed.sum() + 1 <= rate * (episodes + 1) + 1e-9
    else:
        assert np.ceil((episodes + 1) * (1 - rate)) > episodes


def test_new_clean_episodes_keep_the_stated_rate():
    rng, crossed = np.random.default_rng(0), []
    for _ in range(300):
        peaks = rng.beta(1, 8, size=(40, 7)) * np.linspace(0.2, 1, 7)
        cut = 20
        alarm = alarm_threshold(
            peaks[:cut], np.arange(cut), np.ones(cut, bool), np.ones(7, bool),
            np.linspace(0.02, 0.1, 7), 0.15,
        )  # fmt: skip
        crossed.append((peaks[cut:] > alarm.threshold).any(axis=1).mean())
    assert 0.10 < np.mean(crossed) < 0.16


def test_without_clean_queries_nothing_is_ever_raised():
    alarm = alarm_threshold(
        np.ones((6, 7)), np.arange(6), np.zeros(6, bool), np.ones(7, bool), np.full(7, 0.5), 0.15
    )
    assert alarm.unit == "none"
    assert np.isinf(alarm.threshold).all()


def test_smoothed_rate_is_never_zero():
    labels = np.zeros((10, 2), bool)
    labels[:3, 1] = True
    np.testing.assert_allclose(smoothed_rate(labels), [0.05, 0.3])
