"""The action lens in the units of actions."""

import dataclasses

import numpy as np
import pytest

from mist_jax.analysis.lens import action_lens
from mist_jax.errors import UserError
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from tests.helpers.tiny import TINY, bits, tiny_parameters, tiny_policy, tiny_policy_inputs


def test_the_last_layer_says_what_the_policy_says_bit_for_bit():
    policy, inputs = tiny_policy(), tiny_policy_inputs(2)
    lens = action_lens(policy, inputs)
    assert lens.shape == (2, TINY.layers, TINY.chunk, TINY.action_dim)
    wanted = policy.predict_inputs(inputs, sites=("llm.lens",)).raw_actions
    np.testing.assert_array_equal(bits(lens[:, -1]), bits(wanted))
    assert np.abs(lens[:, 0] - lens[:, -1]).max() > 1e-3


def test_what_has_no_lens_is_refused_in_one_line():
    config = dataclasses.replace(TINY, action_head="diffusion")
    drawing = tiny_policy(OpenVLAOFTModel(config), tiny_parameters(config))
    with pytest.raises(UserError, match="has no action lens"):
        action_lens(drawing, tiny_policy_inputs(1))
    with pytest.raises(UserError, match="at least one observation"):
        action_lens(tiny_policy(), [])
