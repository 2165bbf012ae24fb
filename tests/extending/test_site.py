"""A site of one's own is one file: read, kept in datasets, and read by a risk head."""

import jax
import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.rollout.acting.policy_actor import PolicyActor
from tests.helpers.tiny import TINY, tiny_policy, tiny_policy_inputs
from tests.helpers.toy_reader import risk_of_stored

SITE = "llm.resid:gripper"


def test_it_is_the_mean_of_the_grippers_tokens(extended):
    extended("gripper_site")
    policy, inputs = tiny_policy(), tiny_policy_inputs(2)
    mean = policy.predict_inputs(inputs, sites=(SITE,)).activations[SITE]
    every = policy.predict_inputs(inputs, sites=("llm.resid",), pool="tokens")
    tokens = every.activations["llm.resid"]
    last = slice(TINY.action_dim - 1, None, TINY.action_dim)
    np.testing.assert_allclose(mean, tokens[:, :, last].mean(axis=2), rtol=1e-5, atol=1e-6)
    shape = policy.predict_inputs(inputs, sites=(SITE,), pool="tokens").activations[SITE].shape
    assert shape == (2, TINY.layers, TINY.chunk, TINY.width)


def test_a_risk_head_reads_it_and_a_dataset_keeps_it(extended):
    extended("gripper_site")
    policy, inputs = tiny_policy(), tiny_policy_inputs(2)
    head = RiskHead.initial(jax.random.key(0), sites={SITE: TINY.width}, hidden=8, layer=1)
    prediction = policy.predict_inputs(inputs, sites=(SITE,), risk_head=head)
    proprio = np.stack([one.proprio for one in inputs])
    outside = risk_of_stored(head, prediction.activations, proprio)
    np.testing.assert_allclose(prediction.signed_risk, outside, rtol=1e-5)
    assert PolicyActor(policy, 1, sites=(SITE,)).sites[SITE].width == TINY.width


def test_without_the_extension_it_is_unknown():
    with pytest.raises(UserError, match=f"unknown site '{SITE}'"):
        tiny_policy().predict_inputs(tiny_policy_inputs(1), sites=(SITE,))
