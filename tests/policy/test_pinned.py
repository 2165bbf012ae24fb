"""What is pinned to its layers asks nothing at run time in an unrolled forward, and acts alike."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.intervention.action_map.table import TableMap
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.intervention.gate import ThresholdGate
from mist_jax.intervention.intent.given import Given
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.operators.causal_push import CausalPush
from mist_jax.intervention.steering import Steering
from mist_jax.policy.forward import run_model
from tests.helpers.tiny import TINY, TINY_MODEL, assert_same_of_two_programs, bits, tiny_inputs

BATCH, LENGTHS, READ, PUSHED = 3, [5, 12, 8], 1, 2
SITES = {"llm.resid": TINY.width, "llm.resid:image": TINY.width}
MOTIONS = len(SIGNED_MOTIONS)
BRANCH = "stablehlo.case"


def push(pin: bool, layer: int = PUSHED, threshold: float = 0.0) -> CausalPush:
    rng = np.random.default_rng(layer)
    dims = TINY_MODEL.action_dim
    jacobian = rng.normal(size=(BATCH, dims, TINY.action_tokens, TINY.width)).astype(np.float32)
    return CausalPush.of(
        TableMap.of(jacobian),
        Given.of(rng.normal(size=(BATCH, dims))),
        np.eye(dims) * np.array([1.0, 0.0, -1.0])[:, None, None],
        np.eye(TINY.layers)[layer],
        gate=ThresholdGate.of(np.full(MOTIONS, threshold), np.eye(MOTIONS), BATCH),
        pin=pin,
    )


def intervention(pin: bool, *operators) -> Intervention:
    head = RiskHead.initial(jax.random.key(0), sites=SITES, layer=READ, members=2)
    head = head.pin() if pin else head
    return Intervention.of(head, *operators, memory=head.no_memory(BATCH))


def lowered(parameters, given):
    run = jax.jit(functools.partial(run_model, TINY_MODEL, sites=tuple(SITES)))
    return run.lower(parameters, tiny_inputs(LENGTHS), given)


def outputs(parameters, given):
    return lowered(parameters, given).compile()(parameters, tiny_inputs(LENGTHS), given)


@pytest.mark.parametrize("layer", [PUSHED, TINY.layers - 1])
def test_the_unrolled_program_of_what_is_pinned_has_no_branch(unrolled, layer):
    asks, knows = (
        lowered(unrolled, intervention(pin, push(pin, layer))).as_text() for pin in (False, True)
    )
    assert BRANCH in asks
    assert BRANCH not in knows


@pytest.mark.parametrize("form", ["stored", "unrolled"])
@pytest.mark.parametrize("layer", [PUSHED, TINY.layers - 1])
def test_pinned_or_not_it_does_the_same(request, form, layer):
    parameters = request.getfixturevalue(form)
    ours, theirs = (
        outputs(parameters, intervention(pin, push(pin, layer))) for pin in (True, False)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-5), ours, theirs)
    assert np.flatnonzero(np.asarray(ours.gate[0])).tolist() == [layer]
    assert not np.any(ours.gate[1])
    assert np.any(ours.risk)


def test_beside_operators_of_other_layers_each_acts_at_its_own(stored, unrolled):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(1, TINY.layers, TINY.width))
    everywhere = Steering.of(vectors, np.array([[0.1], [0.0], [0.0]]))
    mixed = intervention(True, everywhere, push(True), push(True, TINY.layers - 1))
    asked = intervention(False, everywhere, push(False), push(False, TINY.layers - 1))
    ours, theirs = outputs(unrolled, mixed), outputs(stored, asked)
    np.testing.assert_allclose(ours.actions, theirs.actions, atol=2e-5, rtol=2e-5)
    np.testing.assert_allclose(ours.wanted, theirs.wanted, atol=1e-6)
    assert (np.asarray(ours.gate[0]) > 0).all()
    assert np.flatnonzero(np.asarray(ours.gate[2])).tolist() == [PUSHED, TINY.layers - 1]


def test_a_gate_that_stays_shut_keeps_every_bit(unrolled):
    plain, shut = (
        outputs(unrolled, given)
        for given in (intervention(True), intervention(True, push(True, threshold=np.inf)))
    )
    assert_same_of_two_programs(shut.actions, plain.actions)
    assert_same_of_two_programs(plain.actions, outputs(unrolled, None).actions)


@pytest.mark.parametrize("form", ["stored", "unrolled"])
def test_in_one_program_a_row_that_nothing_moves_keeps_every_bit_on_any_device(request, form):
    parameters, inputs = request.getfixturevalue(form), tiny_inputs(LENGTHS)
    given, shut = (intervention(True, push(True, threshold=at)) for at in (0.0, np.inf))
    program = lowered(parameters, given).compile()
    steered, plain = (program(parameters, inputs, each).actions for each in (given, shut))
    assert np.abs(steered[0] - plain[0]).max() > 1e-3
    np.testing.assert_array_equal(bits(steered[1]), bits(plain[1]))  # its turn is zero


def test_a_heads_layers_are_those_it_has_a_gain_at_and_its_own():
    head = RiskHead.initial(jax.random.key(0), sites=SITES, layer=READ, layers=4, proprio=3)
    assert head.pin().pinned == (READ,)  # proprio's gain lies in row 0, and is no layer's
    mixing = dataclasses.replace(head, gain=jnp.asarray(head.gain).at[:, 2, 0].set(0.5))
    assert mixing.pin().pinned == (READ, 2)
    assert head.switched_off().pin().pinned == ()
