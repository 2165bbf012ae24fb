"""A push off that first takes the approach away."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.intervention.features import Projection
from mist_jax.intervention.intent.against_motion import AgainstMotion
from mist_jax.intervention.intent.braked import Braked, OwnMotion
from mist_jax.intervention.intent.given import Given

A, M = len(ACTION_DIMENSIONS), len(SIGNED_MOTIONS)
IDENTITY = Projection.of(np.zeros(A), np.eye(A), np.ones(A))
OWN = OwnMotion.of(IDENTITY, np.eye(A), np.zeros(A))  # the features are the policy's own motion
NUMBERS = st.floats(-1, 1, width=32)
ACTION = st.lists(NUMBERS, min_size=A, max_size=A).map(lambda row: np.asarray(row, np.float32))


def row(*values: float) -> np.ndarray:
    return np.asarray(values, np.float32)


def wanted(change, own, share=1.0, halt=0.0):
    intent = Braked.of(Given.of(change[None]), OWN, share, halt)
    nothing = jnp.zeros((1, M))
    return np.asarray(intent.wanted(jnp.asarray(own)[None], nothing, nothing))[0]


@given(ACTION, ACTION)
@settings(deadline=None, max_examples=50)
def test_after_it_nothing_of_the_policys_motion_is_left_against_the_push(change, own):
    after = own + wanted(change, own)
    for block in (slice(0, 3), slice(3, 6)):
        push = change[block].astype(np.float64)
        norm = np.linalg.norm(push)
        if norm > 1e-3:
            assert after[block] @ push / norm >= norm - 1e-4
    assert after[6] == pytest.approx(own[6] + change[6])


@given(ACTION, ACTION)
@settings(deadline=None, max_examples=50)
def test_what_already_goes_the_wanted_way_or_across_it_is_left_alone(change, own):
    agrees = np.where(np.arange(A) < 6, np.abs(own) * np.sign(change), own).astype(np.float32)
    np.testing.assert_allclose(wanted(change, agrees), change, atol=1e-6)
    across = row(-change[1], change[0], 0, -change[4], change[3], 0, 1)
    np.testing.assert_allclose(wanted(change, across), change, atol=1e-5)


def test_no_share_is_the_intent_within_and_half_takes_half_away():
    change, own = row(0, 0, 0.2, 0, 0, 0, 0), row(0.3, 0, -0.6, 0, 0.4, 0, -1)
    np.testing.assert_allclose(wanted(change, own, 0.0), change)
    np.testing.assert_allclose(wanted(change, own, 0.5), [0, 0, 0.5, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(wanted(change, own, 1.0), [0, 0, 0.8, 0, 0, 0, 0], atol=1e-6)


@given(ACTION, ACTION)
@settings(deadline=None, max_examples=50)
def test_halted_and_braked_only_the_push_is_left_and_what_goes_its_way(change, own):
    after = own + wanted(change, own, 1.0, 1.0)
    for block in (slice(0, 3), slice(3, 6)):
        push = change[block].astype(np.float64)
        norm = np.linalg.norm(push)
        if norm > 1e-3:
            way = push / norm
            expected = push + max(0.0, own[block] @ way) * way
            np.testing.assert_allclose(after[block], expected, atol=1e-4)
    assert after[6] == pytest.approx(own[6] + change[6])


def test_where_nothing_is_wanted_of_rotation_it_is_not_halted():
    change, own = row(0, 0, 0.2, 0, 0, 0, 0), row(0.3, -0.2, 0.1, 0.5, 0.4, -0.3, -1)
    np.testing.assert_allclose(
        wanted(change, own, 0.0, 1.0), [-0.3, 0.2, 0.2, 0, 0, 0, 0], atol=1e-6
    )
    np.testing.assert_allclose(
        wanted(change, own, 0.0, 0.5), [-0.15, 0.1, 0.2, 0, 0, 0, 0], atol=1e-6
    )


def test_where_no_gate_is_open_nothing_is_wanted_and_nothing_braked():
    size = np.full(A, 0.25, np.float32)
    intent = Braked.of(AgainstMotion.of(size), OWN, 1.0)
    opened = np.zeros((2, M), np.float32)
    opened[1, SIGNED_MOTIONS.index("z-")] = 1
    own = jnp.asarray(np.tile(row(0, 0, -0.5, 0, 0, 0, 1), (2, 1)))
    said = np.asarray(intent.wanted(own, jnp.asarray(opened), jnp.zeros((2, M))))
    assert not said[0].any()
    np.testing.assert_allclose(said[1], [0, 0, 0.75, 0, 0, 0, 0], atol=1e-6)


def test_motions_of_another_shape_are_refused_in_one_line():
    with pytest.raises(UserError, match="a motion needs weights"):
        OwnMotion.of(IDENTITY, np.eye(3), np.zeros(3))
    with pytest.raises(UserError, match="finite"):
        Braked.of(Given.of(np.zeros((1, A))), OWN, np.nan)
