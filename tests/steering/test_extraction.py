"""Planted directions are found, absent ones are absent, and task and clock are no direction."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mist_jax.errors import UserError
from mist_jax.risk.features import Samples, gather_samples
from mist_jax.steering.extraction import (
    contrast_means,
    contrasts,
    extract,
    probe_normals,
    residual_norms,
    risky_queries,
)
from mist_jax.steering.extraction_run import ExtractionConfig, extract_banks
from mist_jax.steering.linear_probe import fit_probes
from mist_jax.steering.value_vectors import value_vector_directions
from tests.helpers.synthetic_episodes import SITE, study_episodes
from tests.helpers.tiny import tiny_policy

FINDERS = {"contrast": contrast_means, "linear": probe_normals}


def planted(shift: float, *, seed: int = 0, nuisance: bool = False) -> Samples:
    """Before a contact along +x, axis 2 of layer 3 moves up by `shift`; along -x, down."""
    episodes = study_episodes(lambda a, s, rng: rng.random(len(s)) < 0.25, scenes=80, seed=seed)
    samples = gather_samples(episodes, SITE, horizon=8, target="all")
    activation = samples.activation.copy()
    forward, backward = samples.risk[:, 0], samples.risk[:, 1]
    activation[:, 1, 2] += shift * (forward.astype(int) - backward)
    if nuisance:  # tasks and time move the activations far more
        task = np.array([facts.key.task_id for facts in samples.episodes])[samples.episode]
        activation[..., 5] += 10.0 * task[:, None] + 0.2 * samples.step[:, None]
    return with_activation(samples, activation)


def with_activation(samples: Samples, activation: np.ndarray) -> Samples:
    return replace(samples, sites={SITE: replace(samples.sites[SITE], values=activation)})


@pytest.mark.parametrize("method", ["contrast", "linear"])
def test_a_planted_direction_is_found_and_points_to_safety(method):
    found = extract(method, FINDERS[method], planted(2.0), columns=[0, 1, 2])
    assert found.names == ("x+", "x-")
    forward, backward = found.unit[:, 1]
    assert forward[2] < -0.85, "away from +2 before +x contacts"
    assert backward[2] > 0.85
    facts = found.facts["x+"]
    assert facts["auroc_layer_1"] > 0.85
    assert abs(facts["auroc_layer_0"] - 0.5) < 0.12
    assert facts["stability"] > 0
    np.testing.assert_allclose(np.linalg.norm(found.unit, axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize("method", ["contrast", "linear"])
def test_task_and_clock_do_not_enter_a_direction(method):
    found = extract(method, FINDERS[method], planted(2.0, nuisance=True), columns=[1])
    assert abs(found.unit[0, 0, 5]) < 0.3
    assert found.unit[0, 0, 2] < -0.8


def test_without_an_effect_no_layer_separates_held_out_scenes():
    values = []
    for seed in range(4):
        found = extract("contrast", contrast_means, planted(0.0, seed=seed), columns=[0, 1, 2])
        values += [found.facts[n][f"auroc_layer_{i}"] for n in found.names for i in range(3)]
    assert abs(np.mean(values) - 0.5) < 0.03


def test_directions_without_samples_are_absent_and_say_why():
    found = extract("contrast", contrast_means, planted(1.0), columns=[0], min_samples=8)
    assert "gripper+" not in found.names
    assert found.absent["gripper+"].startswith("0 matched risky queries")
    assert set(found.names) | set(found.absent) >= {"x+", "yaw-"}
    nothing = extract("contrast", contrast_means, planted(1.0), columns=[0], min_samples=10_000)
    assert nothing.names == ()
    assert len(nothing.absent) == 14


def test_contrast_is_the_matched_difference_of_means():
    samples = planted(1.0, nuisance=True)
    risky = risky_queries(samples, "x+")
    data = contrasts(samples, [1])
    task = np.array([facts.key.task_id for facts in samples.episodes])[samples.episode]
    phase = np.searchsorted(
        np.quantile(samples.step[task == 0], [0.2, 0.4, 0.6, 0.8]), samples.step, side="right"
    )
    total, count = np.zeros(16), 0
    for stratum in {(t, p) for t, p in zip(task, phase, strict=True)}:
        here = (task == stratum[0]) & (phase == stratum[1])
        safe = here & ~samples.risk.any(axis=1)
        if safe.any():
            gap = samples.activation[safe, 1].mean(0) - samples.activation[here & risky, 1]
            total, count = total + gap.sum(axis=0), count + len(gap)
    np.testing.assert_allclose(contrast_means(data, [risky])[0, 0], total / count, atol=1e-4)


def test_the_probe_is_sklearns_logistic_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 1, 6)).astype(np.float32)
    y = rng.random(400) < 1 / (1 + np.exp(-(x[:, 0, 0] - x[:, 0, 3])))
    l2 = 0.05
    ours = fit_probes(x, y[None], np.ones((1, 400), bool), l2)[0, 0]
    weight = np.where(y, 0.5 / y.sum(), 0.5 / (~y).sum())
    mean = weight @ x[:, 0]
    scale = np.sqrt(weight @ (x[:, 0] - mean) ** 2)
    theirs = LogisticRegression(C=1 / l2, tol=1e-10, max_iter=1000)
    theirs.fit((x[:, 0] - mean) / scale, y, sample_weight=weight)
    np.testing.assert_allclose(ours, theirs.coef_[0] / scale, atol=2e-3)


def test_directions_of_a_site_that_cannot_be_steered_are_refused():
    policy = tiny_policy()
    samples = planted(1.0)
    samples = replace(
        samples,
        model=policy.identity,
        site="vision.dino",
        sites={"vision.dino": samples.sites[SITE]},
    )
    with pytest.raises(UserError, match=r"nothing can steer at vision\.dino; extract at one of"):
        extract_banks(samples, "hash", policy, ExtractionConfig())


def test_residual_norm_is_the_mean_norm():
    samples = planted(1.0)
    expected = np.linalg.norm(samples.activation[:, [2]], axis=-1).mean(axis=0)
    np.testing.assert_allclose(residual_norms(samples, [2]), expected, rtol=1e-5)


def test_value_vectors_are_ranked_by_what_they_do_to_the_action():
    """Action i is read off coordinate i; unit 0 writes +x, unit 1 -x, the rest nothing of x."""
    down_proj = np.zeros((2, 12, 9), np.float32)
    down_proj[:, 0, 0], down_proj[:, 1, 0] = 4.0, -0.5
    down_proj[:, 2:, 1:] = np.random.default_rng(0).normal(size=(2, 10, 8))
    down_proj[:, 2:, 6] = 0
    found = value_vector_directions(jnp.asarray(down_proj), lambda push: push[:7], top=3)
    at = found.names.index
    np.testing.assert_allclose(found.unit[at("x+"), :, 0], -1, atol=1e-6)
    np.testing.assert_allclose(found.unit[at("x-"), :, 0], 1, atol=1e-6)
    assert "gripper+" in found.absent
    assert found.facts["x+"]["effect"] == pytest.approx(-1)
