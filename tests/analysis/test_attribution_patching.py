"""Attribution patching: the slope of real patches, and patches themselves where all is linear."""

import dataclasses

import numpy as np
import pytest

from mist_jax.analysis.action_gap import executed
from mist_jax.analysis.activation_patching import activation_patching
from mist_jax.analysis.attribution_patching import attribution_patching
from mist_jax.analysis.site_part import SitePart
from mist_jax.errors import UserError
from mist_jax.intervention.operators.layered_push import LayeredPush
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from tests.helpers.mixing_policy import ACTION, IMAGE, mixing_inputs, mixing_policy
from tests.helpers.tiny import TINY, tiny_parameters, tiny_policy, tiny_policy_inputs

BATCH = 3
SITES = ("llm.resid:image", "llm.resid", "llm.attn:prompt")


def test_it_is_the_slope_of_going_a_little_of_the_way_to_the_donor():
    policy = tiny_policy()
    recipients, donors = tiny_policy_inputs(BATCH), tiny_policy_inputs(BATCH, seed=1)
    found = attribution_patching(policy, recipients, donors, sites=SITES)
    foretold = found.closed(SITES)
    own, other = (
        policy.predict_inputs(inputs, sites=SITES, pool="tokens").activations
        for inputs in (recipients, donors)
    )
    step = 0.01
    for row, site in enumerate(SITES):
        for layer in (0, TINY.layers - 1):
            way = np.zeros_like(own[site])
            way[:, layer] = step * (other[site] - own[site])[:, layer]
            there, back = (
                executed(
                    policy.predict_inputs(
                        recipients, steering=LayeredPush.of(sign * way, site=site)
                    ).raw_actions
                )
                for sign in (1, -1)
            )
            slope = (found.gap.closed(there) - found.gap.closed(back)) / (2 * step)
            scale = max(np.abs(slope).max(), 1e-2)
            np.testing.assert_allclose(
                foretold[row, layer] / scale, slope / scale, atol=0.03, err_msg=f"{site} {layer}"
            )
    assert not found.tokens["llm.resid:image"][:, -1].any(), "nothing reads them any more"


def test_of_a_linear_policy_it_is_what_patching_finds():
    policy = mixing_policy()
    recipients, donors = mixing_inputs(BATCH), mixing_inputs(BATCH, seed=1)
    parts = (IMAGE, ACTION, SitePart(IMAGE, (1,)))
    patched = activation_patching(policy, recipients, donors, parts=parts).closed
    found = attribution_patching(policy, recipients, donors, sites=(IMAGE, ACTION))
    np.testing.assert_allclose(found.closed(parts), patched, atol=1e-4)
    np.testing.assert_allclose(found.closed((IMAGE, ACTION)).sum(0), 1, atol=1e-4)


@pytest.mark.parametrize("head", ["diffusion", "tokens"])
def test_heads_that_draw_or_choose_are_refused(head):
    config = dataclasses.replace(TINY, action_head=head)
    policy = tiny_policy(OpenVLAOFTModel(config), tiny_parameters(config))
    pairs = tiny_policy_inputs(1), tiny_policy_inputs(1, seed=1)
    with pytest.raises(UserError, match="cannot be differentiated") as error:
        attribution_patching(policy, *pairs)
    assert "\n" not in str(error.value)


def test_a_site_that_was_not_asked_for_is_named():
    policy = mixing_policy()
    pairs = mixing_inputs(1), mixing_inputs(1, seed=1)
    found = attribution_patching(policy, *pairs, sites=(IMAGE,))
    with pytest.raises(UserError, match=r"llm\.resid was not attributed; there are llm"):
        found.closed((ACTION,))
