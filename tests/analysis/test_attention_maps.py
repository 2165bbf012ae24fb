"""Attention maps are what the forward's attention did, shown by what it added to the stream."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from mist_jax.analysis.attention import attention_maps
from mist_jax.errors import UserError
from mist_jax.intervention.operators.push import Push
from mist_jax.intervention.tokens import TOKEN_ROLES
from mist_jax.policy.openvla_oft.model import bound_model
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from tests.helpers.linear_policy import linear_inputs, linear_policy
from tests.helpers.tiny import TINY, tiny_parameters, tiny_policy, tiny_policy_inputs

BATCH, HEADS = 3, TINY.heads
WIDTH = TINY.width


def weights(parameter: Any) -> np.ndarray:
    return np.asarray(parameter[...])


@pytest.fixture(scope="module")
def policy():
    return tiny_policy()


@pytest.fixture(scope="module")
def maps(policy):
    return attention_maps(policy, tiny_policy_inputs(BATCH))


def test_rows_sum_to_one_over_what_is_no_padding(maps):
    there = maps.role >= 0
    assert maps.weights.shape == (BATCH, TINY.layers, HEADS, *[there.shape[1]] * 2)
    expected = np.broadcast_to(there[:, None, None], maps.weights.shape[:4])
    np.testing.assert_allclose(maps.weights.sum(-1), expected, atol=1e-5)
    for row in range(BATCH):
        assert not maps.weights[row][..., ~there[row]].any()
    assert (maps.weights >= 0).all()
    assert not there.all(), "the prompts of this batch have different lengths"


@pytest.mark.parametrize("steered", [False, True])
def test_weights_times_values_are_what_the_block_added(steered, policy, maps):
    """With numpy from the parameters; a push at layer 1 changes where layer 2 looks."""
    inputs, steering = tiny_policy_inputs(BATCH), None
    if steered:
        push = np.random.default_rng(0).normal(size=(BATCH, 1, WIDTH))
        steering = Push.of(push, np.eye(TINY.layers)[1], tokens=("all",))
    found = attention_maps(policy, inputs, steering=steering)
    sites = ("llm.attn:all", "llm.resid:all")
    seen = policy.predict_inputs(inputs, sites=sites, pool="tokens", steering=steering).activations
    blocks = bound_model(TINY, policy.parameters).language.blocks
    for layer in range(1, TINY.layers):
        x = seen["llm.resid:all"][:, layer - 1]
        normal = x / np.sqrt((x**2).mean(-1, keepdims=True) + TINY.rms_norm_eps)
        normal = normal * weights(blocks.input_norm.weight)[layer]
        value = normal @ weights(blocks.v_proj.kernel)[layer]
        value = value.reshape(*x.shape[:2], HEADS, WIDTH // HEADS)
        mixed = np.einsum("bhts,bshk->bthk", found.weights[:, layer], value).reshape(x.shape)
        added = mixed @ weights(blocks.o_proj.kernel)[layer]
        there = (found.role >= 0)[..., None]
        np.testing.assert_allclose(added * there, seen["llm.attn:all"][:, layer], atol=1e-4)
    apart = np.abs(found.weights - maps.weights).max((0, 2, 3, 4))
    np.testing.assert_array_equal(apart > 1e-3, [False, False, steered, steered])


def test_the_first_block_looks_at_the_embeddings(policy, maps):
    """What the first block added, again: its input is no site."""
    inputs = tiny_policy_inputs(BATCH)
    sites = ("llm.resid:all", "llm.attn:all", "llm.mlp:all")
    seen = policy.predict_inputs(inputs, sites=sites, pool="tokens").activations
    resid, attn, mlp = (seen[site][:, 0] for site in sites)
    x = resid - attn - mlp
    blocks = bound_model(TINY, policy.parameters).language.blocks
    normal = x / np.sqrt((x**2).mean(-1, keepdims=True) + TINY.rms_norm_eps)
    normal = normal * weights(blocks.input_norm.weight)[0]
    value = normal @ weights(blocks.v_proj.kernel)[0]
    value = value.reshape(*x.shape[:2], HEADS, WIDTH // HEADS)
    mixed = np.einsum("bhts,bshk->bthk", maps.weights[:, 0], value).reshape(x.shape)
    added = mixed @ weights(blocks.o_proj.kernel)[0]
    there = (maps.role >= 0)[..., None]
    # Tokens that are fed as zeros make the norm sensitive to rounding.
    np.testing.assert_allclose(added * there, attn, atol=1e-3)


def test_roles_are_counted_as_they_lie(maps):
    names = [TOKEN_ROLES[index] for index in maps.role[0] if index >= 0]
    patches = TINY.images * TINY.patches
    wanted = ["bos"] + ["image"] * patches + ["proprio"] + ["prompt"] * 4
    assert names == [*wanted, *["action"] * TINY.action_tokens, "stop", "stop"]


def test_looks_and_shares_are_the_plain_sums(maps):
    row, layer, head = 1, 2, 1
    weights = maps.weights[row, layer, head]
    action, image = (
        np.flatnonzero(maps.role[row] == TOKEN_ROLES.index(name)) for name in ("action", "image")
    )
    plain = [np.mean([weights[query, key] for query in action]) for key in image]
    np.testing.assert_allclose(maps.looks("image")[row, layer, head], plain, rtol=1e-4)
    shares = maps.by_role()
    np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-5)
    share = shares[row, layer, head, TOKEN_ROLES.index("action"), TOKEN_ROLES.index("image")]
    np.testing.assert_allclose(share, np.sum(plain), rtol=1e-4)
    prompts = maps.looks("prompt")
    assert prompts.shape[-1] == 6
    assert not prompts[0, ..., 4:].any(), "the first example has fewer"


def test_few_layers_are_those_of_all(policy, maps):
    some = attention_maps(policy, tiny_policy_inputs(BATCH), layers=(3, 1))
    np.testing.assert_allclose(some.weights, maps.weights[:, [3, 1]], atol=1e-6)
    assert some.layers == (3, 1)


def test_what_has_no_maps_is_refused_in_one_line(policy, maps):
    refused = [
        (lambda: attention_maps(policy, []), "at least one observation"),
        (lambda: attention_maps(policy, tiny_policy_inputs(1), layers=(4,)), "has layers 0 to 3"),
        (lambda: attention_maps(policy, tiny_policy_inputs(1), layers=()), "not none"),
        (lambda: maps.looks("elbow"), "no token here is of the role 'elbow'"),
        (
            lambda: attention_maps(linear_policy()[0], linear_inputs(1)),
            "linear does not show its attention",
        ),
    ]
    config = dataclasses.replace(TINY, action_head="diffusion")
    drawing = tiny_policy(OpenVLAOFTModel(config), tiny_parameters(config))
    refused.append((lambda: attention_maps(drawing, tiny_policy_inputs(1)), "many passes"))
    for ask, message in refused:
        with pytest.raises(UserError, match=message) as error:
            ask()
        assert "\n" not in str(error.value)


def test_maps_are_float32_whatever_the_model_computes_in():
    half = tiny_policy(parameters=_half(tiny_parameters()))
    weights = attention_maps(half, tiny_policy_inputs(1), layers=(2,)).weights
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights.sum(-1)[weights.any(-1)], 1, atol=1e-5)


def _half(parameters):
    import jax

    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), parameters)
