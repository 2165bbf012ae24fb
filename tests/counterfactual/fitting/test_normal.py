"""The normal of the contact, learnt from activations."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mist_jax.counterfactual.fitting.normal import (
    NormalTable,
    _ridge,
    fit_normal,
    gather_normals,
    normals_of_branches,
)
from mist_jax.errors import UserError
from tests.helpers import synthetic_episodes
from tests.helpers.synthetic_branches import branch_table


def test_a_normal_that_the_features_hold_is_learnt_and_another_is_not():
    oracle = branch_table(forks=800)
    fitted = fit_normal(normals_of_branches(oracle.table))
    assert fitted.cosine > 0.9
    nothing = fit_normal(normals_of_branches(branch_table(forks=800, known=0.0).table))
    assert abs(nothing.cosine) < 0.25
    unseen = branch_table(forks=800)
    said = fitted(unseen.table.features)
    np.testing.assert_allclose(np.linalg.norm(said, axis=1), 1, atol=1e-6)


def test_the_forward_says_the_same_normal_in_x_y_and_z_alone():
    table = branch_table().table
    fitted = fit_normal(normals_of_branches(table))
    count = len(table)
    opened, risk = jnp.ones((count, 1)), jnp.zeros((count, 14))
    wanted = np.asarray(fitted.intent(0.3).wanted(jnp.asarray(table.features), opened, risk))
    np.testing.assert_allclose(wanted[:, :3], 0.3 * fitted(table.features), atol=1e-4)
    assert not wanted[:, 3:].any()


def test_the_regression_is_scikit_learns_ridge():
    rng = np.random.default_rng(0)
    z, normal = rng.normal(size=(40, 5)), rng.normal(size=(40, 3))
    weights, bias = _ridge(z, normal, 7.0)
    oracle = Ridge(alpha=7.0).fit(z, normal)
    np.testing.assert_allclose(weights, oracle.coef_.T, atol=1e-8)
    np.testing.assert_allclose(bias, oracle.intercept_, atol=1e-8)


def test_unsteered_episodes_give_the_queries_before_their_first_event():
    rng = np.random.default_rng(0)
    activation = rng.normal(size=(12, 1, 4)).astype(np.float32)
    contacts = [
        synthetic_episodes.contact(43, {2: 1.0}),
        synthetic_episodes.contact(70, {2: 1.0}, pair=("hand", "mug")),
    ]
    harmed = synthetic_episodes.episode(contacts, activation=activation)
    clean = synthetic_episodes.episode((), activation=activation, state=1)
    table = gather_normals([harmed, clean], ("action",), 0)
    np.testing.assert_array_equal(table.features, activation[[4, 5], 0])  # of steps 32 and 40
    np.testing.assert_array_equal(table.normal, [[0, 0, 1]] * 2)
    with pytest.raises(UserError, match="no normal to learn"):
        gather_normals([clean], ("action",), 0)


def test_too_few_states_are_refused():
    table = NormalTable(
        np.ones((4, 3), np.float32), np.ones((4, 3)), np.arange(4), np.zeros(4, int)
    )
    with pytest.raises(UserError, match="at least 20"):
        fit_normal(table)
