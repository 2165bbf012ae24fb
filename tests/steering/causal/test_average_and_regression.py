"""Averages, regressions, covariances and first-order responses against other ways to get them."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mist_jax.intervention.action_map.table import TableMap
from mist_jax.steering.causal.average import average_jacobians, phase_edges
from mist_jax.steering.causal.covariance import covariance_factor
from mist_jax.steering.causal.regress import predicted, regress_jacobians
from mist_jax.steering.causal.response import responses

A, S, D = 7, 2, 5
RNG = np.random.default_rng(0)
JACOBIANS = RNG.normal(size=(24, A, S, D)).astype(np.float32)
INSTRUCTION = np.repeat(["a", "b", "c"], 8)
PROGRESS = np.tile(np.linspace(0.0, 0.4, 8), 3)


def averages(prior: float, instructions=("a", "b")) -> np.ndarray:
    """[instructions + 1, 2, A, S, D] of two phases."""
    table = average_jacobians(JACOBIANS, INSTRUCTION, PROGRESS, instructions, (0.2,), prior)
    return table.reshape(len(instructions) + 1, 2, A, S, D)


def test_a_row_is_the_mean_of_its_instruction_and_phase():
    table = averages(0.0)
    for row, text in enumerate("ab"):
        for phase in (0, 1):
            cell = (text == INSTRUCTION) & ((PROGRESS >= 0.2) == phase)
            np.testing.assert_allclose(table[row, phase], JACOBIANS[cell].mean(0), atol=1e-6)


def test_unknown_instructions_have_the_mean_of_the_phase():
    late = JACOBIANS[PROGRESS >= 0.2].mean(0)
    np.testing.assert_allclose(averages(4.0)[-1, 1], late, atol=1e-6)


def test_a_prior_counts_as_that_many_states_of_the_phase():
    phase = JACOBIANS[PROGRESS < 0.2].mean(0)
    cell = JACOBIANS[(INSTRUCTION == "a") & (PROGRESS < 0.2)]
    wanted = (cell.sum(0) + 3 * phase) / (len(cell) + 3)
    np.testing.assert_allclose(averages(3.0)[0, 0], wanted, atol=1e-6)


def test_an_instruction_without_states_in_a_phase_has_the_phases_mean():
    table = averages(0.0, ("a", "never seen"))
    np.testing.assert_allclose(table[1], table[2], atol=1e-6)


def test_a_phase_without_states_has_the_mean_of_all():
    table = average_jacobians(JACOBIANS, INSTRUCTION, PROGRESS, ("a",), (0.9,), 1.0)
    late = table.reshape(2, 2, A, S, D)[:, 1]
    np.testing.assert_allclose(late, np.stack([JACOBIANS.mean(0)] * 2), atol=1e-6)


def test_phases_have_equally_many_states():
    progress = RNG.beta(2, 8, 400)
    phase = np.searchsorted(phase_edges(progress, 4), progress, side="right")
    assert np.bincount(phase).tolist() == [100] * 4


def test_the_regression_is_sklearns_ridge():
    z = RNG.normal(size=(24, 3))
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    terms = regress_jacobians(JACOBIANS, z, 0.3)
    theirs = Ridge(alpha=0.3 * len(z)).fit(z, JACOBIANS.reshape(24, -1))
    np.testing.assert_allclose(terms[0].ravel(), theirs.intercept_, atol=1e-5)
    np.testing.assert_allclose(terms[1:].reshape(3, -1), theirs.coef_.T, atol=1e-5)
    fitted = predicted(terms, z).reshape(24, -1)
    np.testing.assert_allclose(fitted, theirs.predict(z), atol=1e-5)


def test_the_covariance_factor_has_the_covariance_of_all_tokens_together():
    activations = RNG.normal(size=(40, S, D)) * np.arange(1, D + 1)
    factor = covariance_factor(activations.astype(np.float32)).reshape(-1, S * D)
    theirs = np.cov(activations.reshape(40, -1).T, bias=True)
    np.testing.assert_allclose(factor.T @ factor, theirs, atol=1e-3)


@pytest.mark.parametrize("damping", [1e-3, 0.1])
def test_a_response_is_what_a_tables_push_does_where_another_jacobian_holds(damping):
    used, true = JACOBIANS[:6].copy(), JACOBIANS[6:12]
    used[0, 3] = 0.0  # a dimension that nothing moves
    said = responses(used, true, (damping,))[damping]
    table = TableMap.of(used, damping=damping)
    for wanted in range(A):
        change = np.tile(np.eye(A, dtype=np.float32)[wanted], (6, 1))
        push = table.push(jnp.zeros((6, 1)), jnp.asarray(change))
        moved = np.einsum("qasd,qsd->qa", true, np.asarray(push))
        np.testing.assert_allclose(said.change[:, :, wanted], moved, rtol=1e-3, atol=1e-4)


def test_pushes_by_the_true_jacobian_do_what_is_wanted():
    said = responses(JACOBIANS, JACOBIANS, (1e-6,))[1e-6]
    assert said.loss < 1e-6
    assert said.slope == pytest.approx(1, abs=1e-3)
