"""Attention: whatever computes it, it is the softmax over the keys that are not padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from mist_jax.policy.openvla_oft.network import layers, vision
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from tests.helpers.tiny import TINY, tiny_inputs, tiny_parameters


@pytest.mark.parametrize("lengths", [None, [7, 4]])
def test_it_is_the_softmax_over_the_keys_that_are_there(lengths):
    rng = np.random.default_rng(0)
    query = rng.normal(size=(2, 3, 4, 8)).astype(np.float32)
    key, value = rng.normal(size=(2, 2, 7, 4, 8)).astype(np.float32)
    key_length = None if lengths is None else jnp.asarray(lengths)
    ours = layers.attention(jnp.asarray(query), jnp.asarray(key), jnp.asarray(value), key_length)
    scores = np.einsum("bthk,bshk->bhts", query.astype(float), key) / np.sqrt(8)
    if lengths is not None:
        hidden = np.arange(7) >= np.asarray(lengths)[:, None]
        scores = np.where(hidden[:, None, None], -np.inf, scores)
    expected = np.einsum("bhts,bshk->bthk", scipy.special.softmax(scores, axis=-1), value)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(("kernel", "fused_lengths"), [("xla", set()), ("cudnn", {8, 78, 56})])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_gpu_takes_the_kernel_that_is_asked_for(kernel, fused_lengths, dtype, monkeypatch):
    """Towers of 4 and 7 tokens, padded to 8; a language model of 78, at last of 56."""
    plain, asked = jax.nn.dot_product_attention, set()

    def recorded(query, key, value, *, implementation, **named):
        if implementation == "cudnn":
            asked.add(query.shape[1])
        return plain(query, key, value, implementation="xla", **named)

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax.nn, "dot_product_attention", recorded)
    model = OpenVLAOFTModel(TINY, attention=kernel)
    laid = jax.tree.map(lambda leaf: leaf.astype(dtype), model.lay_out(tiny_parameters()))
    jax.eval_shape(lambda given: model.apply(laid, given, None), tiny_inputs([5, 12]))
    assert asked == (fused_lengths if dtype == jnp.bfloat16 else set())


@pytest.mark.parametrize(("width", "taken"), [(8, "cudnn"), (4, "xla"), (12, "xla")])
def test_a_gpu_takes_xlas_kernel_for_heads_that_cudnn_does_not_know(width, taken, monkeypatch):
    plain, asked = jax.nn.dot_product_attention, []

    def recorded(*arrays, implementation, **named):
        asked.append(implementation)
        return plain(*arrays, implementation="xla", **named)

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax.nn, "dot_product_attention", recorded)
    heads = jax.ShapeDtypeStruct((2, 4, 3, width), jnp.bfloat16)
    jax.eval_shape(layers.attention, heads, heads, heads)
    assert asked == [taken]


def test_a_tower_that_is_padded_for_a_gpu_says_what_it_says_unpadded(monkeypatch):
    inputs, parameters, lengths = tiny_inputs([5, 12]), tiny_parameters(), []
    attend = vision.attention

    def recorded(query, *rest, **more):
        lengths.append(query.shape[1])
        return attend(query, *rest, **more)

    def run():
        sites = ("vision.dino", "vision.siglip")
        return OpenVLAOFTModel(TINY).apply(parameters, inputs, None, sites=sites, pool="tokens")

    monkeypatch.setattr(vision, "attention", recorded)
    plain = run()
    monkeypatch.setattr(vision, "cudnn_attends", lambda kernel, dtype: True)
    padded = run()
    assert lengths == [7, 4, 8, 8]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), plain, padded)
