"""Patching: everything replaced is the other run bit for bit, and parts do what they must."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from mist_jax.analysis.action_gap import executed
from mist_jax.analysis.activation_patching import activation_patching
from mist_jax.analysis.site_part import SitePart
from mist_jax.errors import UserError
from mist_jax.policy.policy import Policy
from tests.helpers.mixing_policy import (
    ACTION,
    IMAGE,
    IMAGES,
    LAYERS,
    closed_by_hand,
    mixing_inputs,
    mixing_policy,
)
from tests.helpers.tiny import TINY, bits, tiny_policy, tiny_policy_inputs

BATCH = 3


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny_policy()


def test_all_tokens_from_another_run_give_its_actions_bit_for_bit(policy):
    recipients, donors = tiny_policy_inputs(BATCH), tiny_policy_inputs(BATCH, seed=1)
    patched = activation_patching(policy, recipients, donors, parts=("llm.resid:all",))
    wanted = executed(policy.predict_inputs(donors).raw_actions)
    for layer in range(TINY.layers):
        np.testing.assert_array_equal(bits(patched.actions[0, layer]), bits(wanted))
    np.testing.assert_array_equal(patched.closed, np.ones((1, TINY.layers, BATCH), np.float32))


def test_at_the_last_layer_only_the_action_tokens_count(policy):
    last = TINY.layers - 1
    recipients, donors = tiny_policy_inputs(BATCH), tiny_policy_inputs(BATCH, seed=1)
    patched = activation_patching(policy, recipients, donors, layers=(0, last))
    assert patched.layers == (0, last)
    image, action = patched.closed
    np.testing.assert_array_equal(bits(image[1]), bits(np.zeros(BATCH)))
    np.testing.assert_array_equal(bits(action[1]), bits(np.ones(BATCH)))
    assert (np.abs(image[0]) > 1e-3).all(), "earlier, images still matter"


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        (IMAGE, [0, 1]),
        (ACTION, [IMAGES]),
        (SitePart(IMAGE, (1,)), [1]),
        (SitePart(IMAGE, (1, 0)), [0, 1]),
    ],
)
def test_a_patch_of_a_linear_policy_closes_what_algebra_says(part, tokens):
    policy = mixing_policy()
    recipients, donors = mixing_inputs(BATCH), mixing_inputs(BATCH, seed=1)
    closed = activation_patching(policy, recipients, donors, parts=(part,)).closed[0]
    for layer in range(LAYERS):
        by_hand = closed_by_hand(policy, recipients, donors, layer, tokens)
        np.testing.assert_allclose(closed[layer], by_hand, atol=1e-4, err_msg=str(layer))


def longer(inputs: list[Any]) -> list[Any]:
    return [dataclasses.replace(i, token_ids=np.append(i.token_ids, 5)) for i in inputs]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": ()}, "at least one part"),
        ({"parts": ("llm.lens",)}, "nothing can be put in at 'llm.lens'"),
        ({"parts": ("elbow",)}, "nothing can be put in at 'elbow'"),
        ({"parts": (SitePart("llm.resid:image", (8,)),)}, "has tokens 0 to 7, not 8"),
        ({"parts": (SitePart("llm.resid:image", ()),)}, "not none"),
        ({"layers": (TINY.layers,)}, r"has layers 0 to 3, not \[4\]"),
        ({"layers": ()}, "not none"),
        ({"donors": tiny_policy_inputs(1)}, "every recipient needs its donor"),
        ({"donors": tiny_policy_inputs(2)}, "pair 0 give the same actions"),
        (
            {"donors": longer(tiny_policy_inputs(2, seed=1)), "parts": ("llm.resid:all",)},
            "pair 0: prompts of 6 and 7 tokens",
        ),
    ],
)
def test_what_cannot_be_patched_is_refused_in_one_line(options, message, policy):
    given = {"donors": tiny_policy_inputs(2, seed=1), **options}
    with pytest.raises(UserError, match=message) as error:
        activation_patching(policy, tiny_policy_inputs(2), **given)
    assert "\n" not in str(error.value)


def test_prompts_of_other_length_do_not_matter_to_image_tokens(policy):
    donors = longer(tiny_policy_inputs(2, seed=1))
    last = (TINY.layers - 1,)
    closed = activation_patching(policy, tiny_policy_inputs(2), donors, layers=last).closed
    np.testing.assert_array_equal(closed[:, 0], [[0, 0], [1, 1]])
