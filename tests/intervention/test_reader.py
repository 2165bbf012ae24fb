"""The risk reader's seam: several sites, one forecast, a memory that is data."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.steering import Steering
from mist_jax.policy.forward import forward
from mist_jax.signed import MOTIONS, either_way
from tests.helpers.tiny import (
    TINY,
    TINY_MODEL,
    tiny_inputs,
    tiny_parameters,
    tiny_policy,
    tiny_policy_inputs,
)
from tests.helpers.toy_reader import ToyReader, toy_risk

BATCH, LENGTHS = 3, [5, 12, 8]
SITES = ("vision.dino", "llm.resid", "llm.resid:image", "llm.resid:steps", "llm.lens")
VECTORS = np.ones((1, TINY.layers, TINY.width), np.float32)


@pytest.fixture(scope="module")
def parameters():
    return tiny_parameters()


def reader_of(sites=SITES, at: int = 1, layer: int = 2) -> ToyReader:
    return ToyReader.of({site: (at, TINY_MODEL.sites[site].width) for site in sites}, layer)


def run(parameters, reader: Any, *operators, memory=None, sites=SITES, batch=slice(None)):
    inputs = jax.tree.map(lambda leaf: leaf[batch], tiny_inputs(LENGTHS))
    whole = Intervention.of(reader, *operators, memory=memory)
    return forward(TINY_MODEL, parameters, inputs, whole, sites=sites)


@pytest.mark.parametrize("layer", [1, 3])
def test_risk_in_the_forward_is_risk_of_the_stored_activations_and_memory(layer, parameters):
    reader, proprio = reader_of(layer=layer), tiny_inputs(LENGTHS).proprio
    memory = remembered = None
    for query in range(3):
        outputs = run(parameters, reader, memory=memory or reader.no_memory(BATCH))
        expected, remembered = toy_risk(reader, outputs.activations, proprio, remembered)
        np.testing.assert_allclose(outputs.risk, expected, atol=1e-5)
        np.testing.assert_allclose(outputs.memory["logit"], remembered["logit"], atol=1e-5)
        np.testing.assert_array_equal(outputs.memory["queries"], np.full(BATCH, query + 1))
        memory = outputs.memory
    assert np.ptp(np.asarray(outputs.risk), axis=0).min() > 1e-4, "rows differ"


def test_reading_changes_no_bit_of_the_answer(parameters):
    plain, read = run(parameters, None), run(parameters, reader_of())
    np.testing.assert_array_equal(plain.actions, read.actions)
    for site in SITES:
        np.testing.assert_array_equal(plain.activations[site], read.activations[site])


def test_memory_and_layers_are_data(parameters):
    reader, compiled = reader_of(), forward
    first = run(parameters, reader, memory=reader.no_memory(BATCH))
    size = compiled._cache_size()  # type: ignore[attr-defined]
    run(parameters, reader, memory=first.memory)
    moved = dataclasses.replace(reader, layer=jnp.asarray(3), at=jnp.asarray([0, 0, 1, 2, 3]))
    other = run(parameters, moved, memory=jax.device_get(first.memory))
    assert compiled._cache_size() == size  # type: ignore[attr-defined]
    assert np.abs(np.asarray(other.risk) - np.asarray(first.risk)).max() > 1e-3


def test_a_reader_that_is_off_forecasts_nothing_and_keeps_the_memory(parameters):
    reader = reader_of(layer=-1)
    memory = {"logit": jnp.full((BATCH, MOTIONS), 3.0), "queries": jnp.full(BATCH, 5.0)}
    outputs = run(parameters, reader, memory=memory)
    assert not np.asarray(outputs.risk).any()
    np.testing.assert_array_equal(outputs.memory["queries"], memory["queries"])


def test_what_is_wanted_after_the_forecast_is_not_in_it(parameters):
    late, never = reader_of(("llm.resid",), at=3, layer=2), reader_of(("llm.resid",), at=9, layer=2)
    np.testing.assert_array_equal(run(parameters, late).risk, run(parameters, never).risk)


@pytest.mark.parametrize(
    ("sites", "at", "layer", "first"),
    [
        (("vision.dino", "vision.siglip"), 1, 3, 0),  # nothing to wait for
        (("vision.dino", "llm.resid"), 1, 1, 2),
        (("llm.resid",), 0, 2, 3),
    ],
)
def test_gates_open_after_the_forecast(sites, at, layer, first, parameters):
    steering = Steering.of(VECTORS, np.ones((BATCH, 1)), threshold=-1.0)
    gate = np.asarray(run(parameters, reader_of(sites, at, layer), steering).gate)
    assert not gate[:, :first].any()
    assert (gate[:, first:] > 0).all()


def test_a_direction_opens_on_its_own_signed_motion_alone(parameters):
    reader = reader_of()
    risk = np.asarray(run(parameters, reader).risk)
    motion = int(np.argmax(np.ptp(risk, axis=0)))
    threshold = np.full((BATCH, MOTIONS), 2.0)
    threshold[:, motion] = (risk[:, motion].min() + risk[:, motion].max()) / 2
    for listens, hears in ((motion, True), (motion ^ 1, False)):  # its other way
        gates = np.eye(MOTIONS)[[listens]]
        steering = Steering.of(VECTORS, np.ones((BATCH, 1)), threshold=threshold, gates=gates)
        gate = np.asarray(run(parameters, reader, steering).gate)
        opened = (risk[:, motion] > threshold[:, motion]) & hears
        np.testing.assert_array_equal(gate[:, 3] > 0, opened)
        assert not gate[:, :3].any()


def test_a_closed_gate_leaves_every_bit(parameters):
    reader = reader_of()
    closed = Steering.of(VECTORS, np.ones((BATCH, 1)), threshold=1.5)
    outputs, plain = run(parameters, reader, closed), run(parameters, reader)
    np.testing.assert_array_equal(outputs.actions, plain.actions)
    np.testing.assert_array_equal(outputs.risk, plain.risk)
    assert not np.asarray(outputs.gate).any()


def test_rows_at_different_queries_do_not_touch_each_other(parameters):
    """One at its first query beside others, and beside one whose memory is NaN."""
    reader = reader_of()
    memory = run(parameters, reader).memory
    mixed = jax.tree.map(
        lambda seen, none: jnp.stack([none[0], seen[1], seen[2] * jnp.nan]),
        memory,
        reader.no_memory(BATCH),
    )
    outputs = run(parameters, reader, memory=mixed)
    first, second = run(parameters, reader), run(parameters, reader, memory=memory)
    np.testing.assert_array_equal(outputs.risk[0], first.risk[0])
    np.testing.assert_array_equal(outputs.risk[1], second.risk[1])
    assert np.isnan(outputs.risk[2]).all()
    np.testing.assert_array_equal(outputs.actions, first.actions)


def test_a_reader_of_a_later_site_is_told_at_the_end_and_opens_nothing():
    policy, inputs = tiny_policy(), tiny_policy_inputs(2)
    reader: Any = ToyReader.of({"action_head": (1, TINY.width), "llm.resid": (3, TINY.width)}, 0)
    said = policy.predict_inputs(inputs, sites=reader.sites, risk_head=reader)
    proprio = np.stack([one.proprio for one in inputs])
    expected, _ = toy_risk(reader, said.activations, proprio)
    np.testing.assert_allclose(said.signed_risk, expected, atol=1e-5)
    np.testing.assert_array_equal(said.memory["queries"], [1, 1])
    listening = Steering.of(VECTORS, np.ones((2, 1)), threshold=0.5)
    with pytest.raises(UserError, match="action_head comes after every layer"):
        policy.predict_inputs(inputs, steering=listening, risk_head=reader)


def test_a_prediction_gives_risk_either_way_and_takes_its_memory_back():
    policy, inputs = tiny_policy(), tiny_policy_inputs(2)
    reader: Any = reader_of()
    first = policy.predict_inputs(inputs, risk_head=reader)
    np.testing.assert_array_equal(first.risk, either_way(first.signed_risk))
    assert first.signed_risk.shape == (2, MOTIONS)
    assert first.risk.shape == (2, 7)
    assert first.risk.dtype == np.float32
    again = policy.predict_inputs(inputs, risk_head=reader, memory=first.memory)
    assert np.abs(again.signed_risk - first.signed_risk).max() > 1e-3
    with pytest.raises(UserError, match="another risk head or batch than this of 1"):
        policy.predict_inputs(inputs[:1], risk_head=reader, memory=first.memory)
    with pytest.raises(UserError, match="another risk head"):
        policy.predict_inputs(inputs, risk_head=reader, memory={"logit": first.memory["logit"]})
    with pytest.raises(UserError, match="needs the risk head"):
        policy.predict_inputs(inputs, memory=first.memory)
    narrow: Any = ToyReader.of({"llm.resid": (0, 8)}, 0)
    with pytest.raises(UserError, match=r"reads width 8, llm\.resid has 32"):
        policy.predict_inputs(inputs, risk_head=narrow)
