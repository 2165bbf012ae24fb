"""Steering inside the compiled forward: off is off, on is exact, and nothing is retraced."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.intervention.steering import Steering
from mist_jax.intervention.tokens import TOKEN_ROLES
from mist_jax.policy.forward import forward
from mist_jax.policy.openvla_oft.sequence import layout_of
from tests.helpers.tiny import (
    TINY,
    TINY_MODEL,
    bits,
    intervention,
    row_of,
    tiny_inputs,
    tiny_parameters,
)

BATCH = 3
LENGTHS = [5, 12, 8]


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def parameters(request):
    return jax.tree.map(lambda leaf: leaf.astype(request.param), tiny_parameters())


@pytest.fixture(scope="module")
def float_parameters():
    return tiny_parameters()


def run(parameters, steering=None, risk_head=None, sites=("llm.resid",), pool="mean"):
    return forward(
        TINY_MODEL,
        parameters,
        tiny_inputs(LENGTHS),
        intervention(steering, risk_head, batch=BATCH),
        sites=sites,
        pool=pool,
    )


def steering_at(layer: int, scale: float = 1.0, coefficient=(1.0, 1.0, 1.0), **options) -> Steering:
    vectors = np.zeros((2, TINY.layers, TINY.width), np.float32)
    vectors[0, layer] = scale * np.random.default_rng(layer).normal(size=TINY.width)
    return Steering.of(vectors, np.array([[c, 0.0] for c in coefficient]), **options)


def test_zero_steering_keeps_every_bit_of_the_unsteered_program(parameters):
    unsteered = forward(TINY_MODEL, parameters, tiny_inputs(LENGTHS), None, sites=("llm.resid",))
    off = run(parameters)
    zero = run(parameters, steering_at(1, coefficient=(0.0, 0.0, 0.0)))
    closed = run(parameters, steering_at(1, threshold=np.inf))
    for steered in (off, zero, closed):
        np.testing.assert_array_equal(bits(steered.actions), bits(unsteered.actions))
        taps, plain = steered.activations["llm.resid"], unsteered.activations["llm.resid"]
        np.testing.assert_array_equal(bits(taps), bits(plain))
        assert not np.any(steered.gate)


def test_sweeping_vectors_coefficients_thresholds_and_heads_traces_once(float_parameters):
    sites: dict[str, int] = {"llm.resid": TINY.width}
    shape: Any = {"hidden": 8, "layers": TINY.layers}
    run(float_parameters, steering_at(0), RiskHead.off(sites=sites, **shape))
    compiled: Any = forward
    before = compiled._cache_size()
    for layer in range(TINY.layers):
        head = RiskHead.initial(jax.random.key(layer), sites=sites, layer=layer, **shape)
        steering = steering_at(layer, 0.5 * layer, (0.1, layer, 2.0), threshold=0.1 * layer)
        run(float_parameters, steering, head)
        run(float_parameters, dataclasses.replace(steering, shrink=jnp.full(BATCH, 0.1)), head)
    assert compiled._cache_size() == before


def test_a_vector_appears_at_its_layer_exactly_and_not_before(float_parameters):
    layer = 2
    steering = steering_at(layer)
    plain = run(float_parameters, pool="tokens").activations["llm.resid"]
    steered = run(float_parameters, steering, pool="tokens").activations["llm.resid"]
    np.testing.assert_array_equal(steered[:, :layer], plain[:, :layer])
    added = np.asarray(steered[:, layer] - plain[:, layer])
    expected = np.broadcast_to(steering.vectors[0, layer], added.shape)
    np.testing.assert_allclose(added, expected, atol=1e-5)
    assert np.abs(steered[:, layer + 1] - plain[:, layer + 1]).max() > 1e-3


def test_an_unsteered_row_is_not_touched_by_its_steered_neighbours(parameters):
    plain = run(parameters)
    steered = run(parameters, steering_at(1, coefficient=(2.0, 0.0, -2.0)))
    np.testing.assert_array_equal(bits(steered.actions[1]), bits(plain.actions[1]))
    assert np.abs(steered.actions[0] - plain.actions[0]).max() > 0
    assert steered.gate[0, 1] > 0
    assert steered.gate[1, 1] == 0


def test_gate_reports_the_relative_norm_of_what_was_added(float_parameters):
    layer = 1
    steering = steering_at(layer, coefficient=(0.5, 1.0, 0.0))
    plain = run(float_parameters, pool="tokens").activations["llm.resid"][:, layer]
    norm = np.linalg.norm(plain, axis=-1).sum(-1)
    push = np.linalg.norm(steering.vectors[0, layer]) * np.array([0.5, 1.0, 0.0])
    gate = run(float_parameters, steering).gate
    np.testing.assert_allclose(gate[:, layer], TINY.action_tokens * push / norm, rtol=1e-4)
    assert not np.any(np.delete(np.asarray(gate), layer, axis=1))


def test_risk_at_one_layer_opens_the_gates_of_later_layers_only(float_parameters):
    head = RiskHead.initial(jax.random.key(3), sites={"llm.resid": TINY.width}, hidden=256, layer=1)
    vectors = np.ones((1, TINY.layers, TINY.width), np.float32)
    risk = np.asarray(run(float_parameters, risk_head=head).risk)
    threshold = np.full((BATCH, 14), 2.0)
    dimension = 4
    threshold[:, dimension] = (risk[0, dimension] + risk[1, dimension]) / 2
    gates = np.zeros((1, 14))
    gates[0, dimension] = 1
    steering = Steering.of(vectors, np.ones((BATCH, 1)), gates=gates, threshold=threshold)
    gate = np.asarray(run(float_parameters, steering, head).gate)
    alarmed = risk[:, dimension] > threshold[:, dimension]
    assert alarmed.any()
    assert not alarmed.all()
    assert not gate[:, :2].any()
    np.testing.assert_array_equal((gate[:, 2:] > 0).all(1), alarmed)
    assert not gate[~alarmed].any()


def test_shrinkage_scales_the_steered_tokens(float_parameters):
    off = Steering.off(batch=BATCH, layers=TINY.layers, width=TINY.width)
    steering = dataclasses.replace(off, shrink=jnp.asarray([0.1, 0.0, 0.0]))
    plain = run(float_parameters, pool="tokens").activations["llm.resid"]
    shrunk = run(float_parameters, steering, pool="tokens").activations["llm.resid"]
    np.testing.assert_allclose(shrunk[0, 0], 0.9 * plain[0, 0], rtol=1e-5)
    np.testing.assert_array_equal(shrunk[1:], plain[1:])


def test_token_roles_cover_every_token_once_and_none_of_the_padding():
    lengths = jnp.asarray(LENGTHS)
    layout = layout_of(TINY, lengths, TINY.prompt_capacity)
    covered = np.asarray(layout.role.sum(-1))
    position = np.arange(covered.shape[1])
    np.testing.assert_array_equal(covered, position[None] < np.asarray(layout.key_length)[:, None])
    counts = dict(zip(TOKEN_ROLES, np.asarray(layout.role[0].sum(0)), strict=True))
    assert counts == {
        "bos": 1,
        "image": TINY.images * TINY.patches,
        "proprio": 1,
        "prompt": LENGTHS[0] - 2,
        "action": TINY.action_tokens,
        "stop": 2,
    }


def test_rows_of_different_prompt_lengths_equal_their_batch_of_one(float_parameters):
    inputs = tiny_inputs(LENGTHS)
    together = run(float_parameters)
    for row in range(BATCH):
        alone = forward(
            TINY_MODEL, float_parameters, row_of(inputs, row), intervention(), sites=("llm.resid",)
        )
        np.testing.assert_allclose(alone.actions[0], together.actions[row], atol=1e-5)
        np.testing.assert_allclose(
            alone.activations["llm.resid"][0], together.activations["llm.resid"][row], atol=2e-5
        )


def test_what_lies_in_the_padding_does_not_matter(float_parameters):
    inputs = tiny_inputs([5])
    other = dataclasses.replace(inputs, token_ids=inputs.token_ids.at[0, 5:].set(17))
    results = [
        forward(TINY_MODEL, float_parameters, one, intervention()).actions
        for one in (inputs, other)
    ]
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vectors": np.ones((2, 3)), "coefficient": np.ones((1, 2))}, "needs vectors"),
        ({"vectors": np.ones((2, 4, 8)), "coefficient": np.ones((1, 3))}, "needs vectors"),
        ({"vectors": np.full((1, 4, 8), np.nan), "coefficient": np.ones((1, 1))}, "finite"),
        (
            {"vectors": np.ones((1, 4, 8)), "coefficient": np.ones((1, 1)), "tokens": ("wrist",)},
            "unknown token role 'wrist'",
        ),
    ],
)
def test_malformed_steering_is_refused_in_one_line(arguments, message):
    with pytest.raises(UserError, match=message):
        Steering.of(**arguments)
