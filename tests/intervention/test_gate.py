"""Gates: which risk opens what, from which layer on, and who may not listen."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from mist_jax.errors import UserError
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.intervention.gate import UNREAD, AlwaysOpen, Gate, ThresholdGate
from mist_jax.intervention.steering import Steering
from mist_jax.policy.forward import forward
from mist_jax.signed import MOTIONS
from tests.helpers.tiny import (
    TINY,
    TINY_MODEL,
    intervention,
    tiny_inputs,
    tiny_parameters,
    tiny_policy,
    tiny_policy_inputs,
)

BATCH = 3
VECTORS = np.ones((2, TINY.layers, TINY.width), np.float32)


@struct.dataclass
class SumGate(Gate):
    """The second rule of this file: opens everything where the risks add up to a number."""

    number: Any

    def opened(self, risk):
        return self.alarmed(risk)[:, None]

    def alarmed(self, risk):
        return (risk.sum(-1) > self.number).astype(jnp.float32)


@struct.dataclass
class Constant:
    """A risk reader that reads nothing, waits for its layer and always says the same."""

    layer: Any
    risk: Any  # [M]
    sites: tuple[str, ...] = struct.field(pytree_node=False, default=("llm.resid",))
    widths: tuple[int, ...] = struct.field(pytree_node=False, default=(TINY.width,))

    def start(self, batch):
        return jnp.zeros(batch)

    def reads(self, site, layer):
        return layer < 0

    def absorb(self, reading, site, layer, activation):
        return reading

    def forecast(self, reading, proprio, memory):
        return jnp.broadcast_to(self.risk, (len(reading), len(self.risk))), memory

    def no_memory(self, batch):
        return ()


@pytest.fixture(scope="module")
def parameters():
    return tiny_parameters()


def run(parameters, steering=None, risk_head=None):
    return forward(
        TINY_MODEL,
        parameters,
        tiny_inputs([5, 12, 8]),
        intervention(steering, risk_head, batch=BATCH),
    )


def head(layer: int, site: str = "llm.resid") -> RiskHead:
    return RiskHead.initial(jax.random.key(3), sites={site: TINY.width}, hidden=8, layer=layer)


def test_a_threshold_opens_the_directions_that_listen_to_the_dimension():
    listens = np.array([[1, 0, 0], [0, 1, 1.0]])
    gate = ThresholdGate.of(np.array([[0.5, 0.5, 0.5], [0.9, 0.1, np.inf]]), listens, 2)
    risk = jnp.asarray([[0.6, 0.1, 0.2], [0.6, 0.2, 1.0]])
    np.testing.assert_array_equal(gate.opened(risk), [[1, 0], [0, 1]])
    np.testing.assert_array_equal(gate.alarmed(risk), [1, 1])
    np.testing.assert_array_equal(gate.alarmed(0 * risk), [0, 0])


def test_before_risk_is_read_only_what_is_always_open_is_open():
    unread = jnp.full((3, 2), UNREAD)
    gate = ThresholdGate.of(np.array([[-np.inf] * 2, [-1.0] * 2, [np.inf] * 2]), np.ones((1, 2)), 3)
    np.testing.assert_array_equal(gate.opened(unread)[:, 0], [1, 0, 0])
    np.testing.assert_array_equal(gate.alarmed(unread), [1, 0, 0])


@pytest.mark.parametrize("threshold", [-1.0, 0.0])
def test_a_finite_threshold_acts_after_the_risk_layer_only(threshold, parameters):
    """Also below zero: an alarm whatever the risk is still an alarm, and comes with the risk."""
    steering = Steering.of(VECTORS, np.ones((BATCH, 2)), threshold=threshold)
    gate = np.asarray(run(parameters, steering, head(1)).gate)
    assert not gate[:, :2].any()
    assert (gate[:, 2:] > 0).all()


def test_another_rule_opens_where_it_says(parameters):
    total = np.asarray(run(parameters, risk_head=head(0)).risk).sum(-1)
    number = float(np.sort(total)[1])
    steering = Steering.of(VECTORS, np.ones((BATCH, 2)), gate=SumGate(jnp.asarray(number)))
    gate = np.asarray(run(parameters, steering, head(0)).gate)
    np.testing.assert_array_equal((gate[:, 1:] > 0).all(1), total > number)
    assert not gate[total <= number].any()
    compiled: Any = forward
    before = compiled._cache_size()
    run(parameters, dataclasses.replace(steering, gate=SumGate(jnp.asarray(0.1))), head(0))
    assert compiled._cache_size() == before


def test_another_reader_opens_gates_as_the_risk_head_does(parameters):
    risk = np.array([0.1, 0.9, *[0] * 12], np.float32)
    reader: Any = Constant(jnp.asarray(2), jnp.asarray(risk))
    listens = np.zeros((2, MOTIONS))
    listens[0, 1] = listens[1, 0] = 1
    steering = Steering.of(VECTORS, np.ones((BATCH, 2)), threshold=0.5, gates=listens)
    only_first = Steering.of(VECTORS[:1], np.ones((BATCH, 1)))
    outputs = run(parameters, steering, reader)
    np.testing.assert_array_equal(outputs.risk, np.tile(risk, (BATCH, 1)))
    assert not outputs.gate[:, :3].any()
    np.testing.assert_allclose(outputs.gate[:, 3] > 0, run(parameters, only_first).gate[:, 3] > 0)


def test_a_policy_refuses_gates_that_can_never_hear_or_hear_too_late():
    policy = tiny_policy()
    inputs = tiny_policy_inputs(1)
    listening = Steering.of(VECTORS, np.ones((1, 2)), threshold=0.5)
    with pytest.raises(UserError, match=r"listens to risk and there is no risk head"):
        policy.predict_inputs(inputs, steering=listening)
    with pytest.raises(UserError, match="no risk head"):
        policy.predict_inputs(
            inputs, steering=dataclasses.replace(listening, gate=SumGate(jnp.asarray(0.5)))
        )
    late = head(0, site="action_head")
    with pytest.raises(UserError, match="action_head comes after every layer"):
        policy.predict_inputs(inputs, steering=listening, risk_head=late)
    for deaf in (-np.inf, np.inf):
        policy.intervention(1, dataclasses.replace(listening, gate=AlwaysOpen()), late)
        policy.intervention(1, Steering.of(VECTORS, np.ones((1, 2)), threshold=deaf), None)
    other = dataclasses.replace(listening, gate=ThresholdGate.of(0.5, np.ones((2, MOTIONS)), 2))
    with pytest.raises(UserError, match="the gate is for 2 examples of 14 signed motions"):
        policy.intervention(1, other, head(0))
    assert policy.predict_inputs(inputs, risk_head=late).risk.all(), "reported, where none steers"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": np.nan}, "not NaN"),
        ({"threshold": np.ones((2, 7))}, "a threshold is one number"),
        ({"gates": np.ones((3, 14))}, "gates must be"),
    ],
)
def test_malformed_gates_are_refused_in_one_line(arguments, message):
    with pytest.raises(UserError, match=message):
        Steering.of(np.ones((2, 4, 8)), np.ones((3, 2)), **arguments)
