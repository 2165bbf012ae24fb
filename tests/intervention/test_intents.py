"""What is wanted follows from what is given, or from the motions whose gate is open."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.intervention.intent.against_motion import AgainstMotion
from mist_jax.intervention.intent.given import Given
from mist_jax.intervention.intent.upward import Upward

SIZE = np.array([1, 2, 3, 0.1, 0.2, 0.3, 0], np.float32)
NOTHING = jnp.zeros((1, 4))


def against(opened: np.ndarray) -> dict[str, float]:
    """By dimension, of one example."""
    risk = jnp.zeros((1, len(SIGNED_MOTIONS)))
    wanted = AgainstMotion.of(SIZE).wanted(NOTHING, jnp.asarray(opened[None], "f"), risk)
    return dict(zip(ACTION_DIMENSIONS, np.asarray(wanted[0]).tolist(), strict=True))


@given(opened=arrays.arrays(np.float32, len(SIGNED_MOTIONS), elements=st.floats(0, 1, width=32)))
def test_what_is_wanted_goes_against_every_open_motion_by_its_name(opened):
    expected: dict[str, float] = dict.fromkeys(ACTION_DIMENSIONS, 0.0)
    sizes: dict[str, float] = dict(zip(ACTION_DIMENSIONS, SIZE.tolist(), strict=True))
    for name, share in zip(SIGNED_MOTIONS, opened, strict=True):
        way = {"+": -1, "-": 1}[name[-1]]
        expected[name[:-1]] += way * float(share * sizes[name[:-1]])
    for name, value in against(opened).items():
        assert value == pytest.approx(expected[name], abs=1e-5)


def test_an_open_gate_of_one_direction_wants_both_ways_and_so_nothing():
    assert not any(against(np.ones(1)).values())


def test_a_given_change_is_wanted_whatever_the_activations_say():
    change = np.random.default_rng(0).normal(size=(2, 7)).astype(np.float32)
    risk = jnp.zeros((2, len(SIGNED_MOTIONS)))
    for features in (jnp.zeros((2, 3)), jnp.ones((2, 3))):
        wanted = Given.of(change).wanted(features, jnp.zeros((2, 1)), risk)
        np.testing.assert_array_equal(wanted, change)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Given.of(np.ones(7)), "a given change must be"),
        (lambda: Given.of(np.full((1, 7), np.nan)), "finite"),
        (lambda: AgainstMotion.of(np.ones((1, 7))), "the size of each dimension must be"),
    ],
)
def test_malformed_intents_are_refused_in_one_line(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_upward_wants_z_alone_of_every_example_whatever_is_open():
    opened, risk = jnp.zeros((3, 1)), jnp.zeros((3, len(SIGNED_MOTIONS)))
    found = np.asarray(Upward.of(0.25).wanted(jnp.zeros((3, 4)), opened, risk))
    np.testing.assert_array_equal(found, np.tile([0, 0, 0.25, 0, 0, 0, 0], (3, 1)))
    with pytest.raises(UserError, match="size"):
        Upward.of(np.inf)
