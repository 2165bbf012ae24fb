"""Metres and radians to action units and back; the units are what the simulator moves by."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mist_jax.action_units import UNIT, from_units, to_units
from mist_jax.axes import ACTION_DIMENSIONS

SIZES = st.floats(-1, 1, allow_subnormal=False)


@given(metres=SIZES, radians=SIZES, chunk=st.integers(1, 50))
def test_what_is_typed_is_commanded_over_one_whole_chunk(metres, radians, chunk):
    steps = np.tile(to_units(metres, radians, chunk), (chunk, 1))
    commanded = (steps * UNIT).sum(axis=0)
    np.testing.assert_allclose(commanded, [metres] * 3 + [radians] * 3 + [0], atol=1e-6)
    np.testing.assert_allclose(from_units(steps[0], chunk), commanded, atol=1e-6)


def test_a_unit_is_what_the_controller_of_libero_makes_of_an_action_of_one():
    from robosuite.controllers import load_controller_config

    scale = load_controller_config(default_controller="OSC_POSE")["output_max"]
    np.testing.assert_allclose(UNIT[:6], scale)
    assert len(UNIT) == len(ACTION_DIMENSIONS)
