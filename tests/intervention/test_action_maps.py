"""Least pushes are numpy's pseudo-inverse, in the tables' and the linear map's own Jacobians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mist_jax.errors import UserError
from mist_jax.intervention.action_map.least_norm import least_norm
from mist_jax.intervention.action_map.linear import LinearMap
from mist_jax.intervention.action_map.noise import NoiseMap
from mist_jax.intervention.action_map.registry import ACTION_MAPS
from mist_jax.intervention.action_map.table import TableMap
from mist_jax.intervention.features import Projection

BATCH, DIMS, TOKENS, WIDTH = 2, 7, 3, 8
TINY_DAMPING = 1e-6
NOTHING = jnp.zeros((BATCH, 4))


def jacobians(seed: int, count: int = BATCH) -> np.ndarray:
    """Rows of very different length, as translation and rotation have."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-2, 1, (count, DIMS, 1, 1))
    return (rng.normal(size=(count, DIMS, TOKENS, WIDTH)) * scale).astype(np.float32)


def one_number() -> Projection:
    return Projection.of(np.zeros(1), np.ones((1, 1)), np.ones(1))


def moved(jacobian: np.ndarray, push) -> np.ndarray:
    return np.einsum("basd,bsd->ba", jacobian, np.asarray(push))


wanted_changes = arrays.arrays(np.float32, (BATCH, DIMS), elements=st.floats(-1, 1, width=32))


@given(seed=st.integers(0, 2**16), wanted=wanted_changes)
def test_the_push_is_the_least_that_changes_what_is_wanted_and_nothing_else(seed, wanted):
    jacobian = jacobians(seed)
    push = TableMap.of(jacobian, damping=TINY_DAMPING).push(NOTHING, jnp.asarray(wanted))
    np.testing.assert_allclose(moved(jacobian, push), wanted, atol=2e-3)
    flat = jacobian.reshape(BATCH, DIMS, -1).astype(float)
    least = np.einsum("bpa,ba->bp", np.linalg.pinv(flat), wanted).reshape(push.shape)
    np.testing.assert_allclose(push, least, atol=2e-3 * (np.abs(least).max() + 1e-6))


@given(seed=st.integers(0, 2**16), damping=st.floats(1e-4, 10))
def test_damping_is_the_share_of_rows_of_norm_one(seed, damping):
    """Against the textbook's formula on rescaled rows, in float64."""
    jacobian, wanted = jacobians(seed), np.random.default_rng(seed).normal(size=(BATCH, DIMS))
    push = least_norm(jnp.asarray(jacobian), jnp.asarray(wanted, "f"), jnp.float32(damping))
    for row in range(BATCH):
        flat = jacobian[row].reshape(DIMS, -1).astype(float)
        norm = np.linalg.norm(flat, axis=1)
        unit = flat / norm[:, None]
        expected = unit.T @ np.linalg.solve(
            unit @ unit.T + damping * np.eye(DIMS), wanted[row] / norm
        )
        np.testing.assert_allclose(
            np.asarray(push[row]).ravel(), expected, rtol=0.02, atol=0.01 * np.abs(expected).max()
        )


@pytest.mark.parametrize("hole", [0.0, np.nan, np.inf])
def test_a_row_that_is_zero_or_not_finite_pushes_nothing_and_spoils_nothing(hole):
    jacobian, wanted = jacobians(0), np.random.default_rng(1).normal(size=(BATCH, DIMS))
    broken = jacobian.copy()
    broken[0, 2] = hole
    broken[1, 5, 1, 3] = hole or np.nan
    push = TableMap.of(broken, damping=TINY_DAMPING).push(NOTHING, jnp.asarray(wanted, "f"))
    for row, lost in ((0, 2), (1, 5)):
        kept = np.delete(jacobian[row], lost, axis=0).reshape(DIMS - 1, -1).astype(float)
        least = np.linalg.pinv(kept) @ np.delete(wanted[row], lost)
        np.testing.assert_allclose(np.ravel(push[row]), least, atol=2e-3 * np.abs(least).max())
    nothing = TableMap.of(np.full_like(jacobian, hole)).push(NOTHING, jnp.asarray(wanted, "f"))
    assert not np.asarray(nothing).any()


def test_a_table_gives_each_example_its_own_row():
    table, rows = jacobians(3, count=5), np.array([4, 1])
    wanted = jnp.asarray(np.random.default_rng(0).normal(size=(BATCH, DIMS)), "f")
    by_row = TableMap.of(table, rows)
    np.testing.assert_array_equal(by_row.jacobian(NOTHING), table[rows])
    exact = TableMap.of(table[rows])
    np.testing.assert_array_equal(by_row.push(NOTHING, wanted), exact.push(NOTHING, wanted))


def test_a_linear_map_is_the_table_of_what_the_features_say():
    rng = np.random.default_rng(0)
    terms, features = jacobians(5, count=3), rng.normal(size=(BATCH, 4)).astype(np.float32)
    mean, basis, scale = rng.normal(size=4), rng.normal(size=(4, 2)), np.array([0.5, 2.0])
    linear = LinearMap.of(Projection.of(mean, basis, scale), terms, damping=0.01)
    z = (features - mean) @ basis / scale
    expected = terms[0] + np.einsum("bk,kasd->basd", z, terms[1:])
    wanted = jnp.asarray(rng.normal(size=(BATCH, DIMS)), "f")
    np.testing.assert_allclose(linear.jacobian(jnp.asarray(features)), expected, rtol=1e-3)
    np.testing.assert_allclose(
        linear.push(jnp.asarray(features), wanted),
        TableMap.of(expected, damping=0.01).push(NOTHING, wanted),
        rtol=0.01,
        atol=1e-4,
    )


@given(seed=st.integers(0, 2**16), wanted=wanted_changes)
def test_noise_moves_the_action_as_far_as_is_wanted_along_the_noise(seed, wanted):
    jacobian = jacobians(seed)
    noise = np.random.default_rng(seed).normal(size=(BATCH, TOKENS, WIDTH)).astype(np.float32)
    push = NoiseMap.of(TableMap.of(jacobian), noise).push(NOTHING, jnp.asarray(wanted))
    # The gripper is made binary: it is no part of the dose.
    found, dose = (np.linalg.norm(of[:, :6], axis=1) for of in (moved(jacobian, push), wanted))
    np.testing.assert_allclose(found, dose, rtol=1e-3)
    cosine = (np.asarray(push) * noise).sum((1, 2))
    size = np.linalg.norm(push, axis=(1, 2)) * np.linalg.norm(noise, axis=(1, 2))
    np.testing.assert_allclose(cosine, size, rtol=1e-3)


def test_noise_that_moves_no_action_pushes_nothing():
    table = TableMap.of(np.zeros((BATCH, DIMS, TOKENS, WIDTH)))
    push = NoiseMap.of(table, np.ones((BATCH, TOKENS, WIDTH))).push(
        NOTHING, jnp.ones((BATCH, DIMS))
    )
    assert not np.asarray(push).any()


def test_every_map_of_the_registry_can_be_differentiated_where_nothing_is_wanted():
    table = TableMap.of(jacobians(0))
    linear = LinearMap.of(Projection.of(np.zeros(4), np.ones((4, 1)), np.ones(1)), jacobians(1))
    maps = (table, linear, NoiseMap.of(table, np.ones((BATCH, TOKENS, WIDTH))))
    assert {type(made) for made in maps} == set(ACTION_MAPS.values())
    for made in maps:
        slope = jax.jacobian(made.push, argnums=1)(NOTHING, jnp.zeros((BATCH, DIMS)))
        assert np.isfinite(slope).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TableMap.of(np.ones((2, 7, 8))), "a table of Jacobians is"),
        (lambda: TableMap.of(np.ones((2, 7, 1, 8)), np.array([0.0, 1.0])), "a row per example"),
        (lambda: TableMap.of(np.ones((2, 7, 1, 8)), np.array([0, 2])), "rows 0 to 1, not 2"),
        (lambda: TableMap.of(np.ones((2, 7, 1, 8)), np.array([-1, 0])), "rows 0 to 1, not -1"),
        (lambda: TableMap.of(np.ones((2, 7, 1, 8)), damping=0.0), "damping must be positive"),
        (
            lambda: LinearMap.of(one_number(), np.full((2, 7, 1, 8), np.nan)),
            "must be finite",
        ),
        (
            lambda: LinearMap.of(one_number(), np.ones((1, 7, 1, 8))),
            "needs 2 Jacobians, not 1",
        ),
        (lambda: Projection.of(np.zeros(1), np.ones((1, 1)), np.zeros(1)), "scales positive"),
        (lambda: Projection.of(np.zeros(1), np.ones(1), np.ones(1)), "a projection needs"),
        (
            lambda: NoiseMap.of(TableMap.of(np.ones((2, 7, 1, 8))), np.ones((3, 1, 8))),
            "2 examples of width 8",
        ),
    ],
)
def test_malformed_maps_are_refused_in_one_line(make, message):
    with pytest.raises(UserError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
