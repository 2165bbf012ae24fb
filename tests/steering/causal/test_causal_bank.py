"""A causal bank's operator does what it is asked in each form, from memory and from disk."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from mist_jax.action_units import to_units
from mist_jax.errors import UserError
from mist_jax.intervention.action_map.linear import LinearMap
from mist_jax.intervention.action_map.noise import NoiseMap
from mist_jax.intervention.action_map.table import TableMap
from mist_jax.intervention.features import Projection
from mist_jax.intervention.gate import AlwaysOpen, ThresholdGate
from mist_jax.intervention.intent.against_motion import AgainstMotion
from mist_jax.intervention.intent.along_normal import AlongNormal
from mist_jax.intervention.intent.upward import Upward
from mist_jax.intervention.operators.causal_push import CausalPush
from mist_jax.steering.causal.bank import FORMS, CausalBank, CausalMetadata
from mist_jax.steering.causal.checkpoint import restore_causal_bank, save_causal_bank
from mist_jax.steering.causal.effects import Effects, MotionEffect
from tests.helpers.tiny import TINY, tiny_policy, tiny_policy_inputs

LAYER, A, D = 2, 7, TINY.width
POLICY = tiny_policy()
INPUTS = tiny_policy_inputs(2)
TOKENS = POLICY.model.chunk * A
RNG = np.random.default_rng(0)
METADATA = CausalMetadata(
    model=POLICY.identity,
    layer=LAYER,
    layers=TINY.layers,
    chunk=POLICY.model.chunk,
    instructions=("open it", "shut it"),
    edges=(0.1, 0.3),
    damping={"table": 0.01, "linear": 0.02, "exact": 0.001},
    form="linear",
    reads=("action", "image"),
)
EFFECTS = Effects(
    (MotionEffect("x+", 9, 10, (0.8, 0.9, 1.0), (0.9,), (0.0, 0.1, 0.2), 1, 0.1),), (0.1,), 10
)


def bank(**changes) -> CausalBank:
    projection = Projection.of(np.zeros(2 * D), RNG.normal(size=(2 * D, 3)), np.ones(3))
    made = CausalBank(
        table=jnp.asarray(RNG.normal(size=(9, A, TOKENS, D)) * 0.1, jnp.float32),
        projection=projection,
        terms=jnp.asarray(RNG.normal(size=(4, A, TOKENS, D)) * 0.1, jnp.float32),
        covariance=jnp.asarray(RNG.normal(size=(5, TOKENS, D)), jnp.float32),
        own=jnp.asarray(RNG.normal(size=(4, A)), jnp.float32),
        intents={
            "along_normal": AlongNormal.of(projection, RNG.normal(size=(3, 3)), np.ones(3), 0.1)
        },
        effects={"table": EFFECTS},
        metadata=METADATA,
    )
    return dataclasses.replace(made, **changes)


BANK = bank()
ALL = np.tile(np.eye(A), (2, 1, 1))


def said(operator: CausalPush):
    return POLICY.predict_inputs(INPUTS, steering=operator)


@pytest.mark.parametrize(
    ("instruction", "step", "row"),
    [
        ("open it", 0, 0),
        ("open it", 9, 0),
        ("open it", 10, 1),
        ("shut it", 20, 4),
        ("shut it", 99, 5),
        ("break it", 0, 6),
        ("break it", 50, 8),
    ],
)
def test_the_row_is_that_of_instruction_and_phase(instruction, step, row):
    assert BANK.row(instruction, step, 100) == row


def test_each_form_is_its_map_with_its_damping():
    table = BANK.action_map("table", 2, rows=np.array([3, 8]))
    assert isinstance(table, TableMap)
    np.testing.assert_array_equal(table.row, [3, 8])
    np.testing.assert_array_equal(table.table, BANK.table)
    linear = BANK.action_map("linear", 2)
    assert isinstance(linear, LinearMap)
    np.testing.assert_array_equal(linear.terms, BANK.terms)
    own = RNG.normal(size=(2, A, TOKENS, D))
    exact = BANK.action_map("exact", 2, jacobian=own)
    assert isinstance(exact, TableMap)
    np.testing.assert_allclose(exact.table, own, rtol=1e-6)
    np.testing.assert_array_equal(exact.row, [0, 1])
    for form, one in (("table", table), ("linear", linear), ("exact", exact)):
        assert float(one.damping) == pytest.approx(METADATA.damping[form])
    with pytest.raises(UserError, match="no push of the form 'cubic'; there are table, linear"):
        BANK.action_map("cubic", 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMS)
def test_an_operator_without_numbers_leaves_every_bit(form):
    alone = POLICY.predict_inputs(INPUTS)
    left = said(BANK.operator(2, form, "against_motion", gate=AlwaysOpen()))
    np.testing.assert_array_equal(left.raw_actions, alone.raw_actions)
    assert not left.gate.any()


def test_its_gate_is_shut_until_a_threshold_is_given():
    size = np.full(A, 0.1, np.float32)
    operator = BANK.operator(2, "table", "against_motion", size=size, transform=ALL)
    assert not np.asarray(operator.gate.opened(jnp.ones((2, 14)))).any()
    assert isinstance(operator.gate, ThresholdGate)
    np.testing.assert_array_equal(operator.gate.listens, np.eye(14))


@pytest.mark.parametrize("form", FORMS)
def test_pushes_act_at_the_banks_layer_alone_and_are_told(form):
    exact = POLICY.jacobian(INPUTS, layer=LAYER)
    change = np.zeros((2, A), np.float32)
    change[:, 0] = 0.01
    operator = BANK.operator(
        2, form, "given", gate=AlwaysOpen(), transform=ALL, rows=np.array([0, 4]), jacobian=exact
    )
    intent = dataclasses.replace(operator.intent, change=jnp.asarray(change))  # type: ignore[type-var]
    moved = said(dataclasses.replace(operator, intent=intent))
    assert (moved.gate[:, LAYER] > 0).all()
    assert not np.delete(moved.gate, LAYER, axis=1).any()
    np.testing.assert_allclose(moved.wanted, change, atol=1e-7)


def test_the_exact_form_is_the_policys_own_jacobian():
    np.testing.assert_array_equal(
        BANK.jacobian(POLICY, INPUTS), POLICY.jacobian(INPUTS, layer=LAYER)
    )


def test_the_linear_form_reads_what_the_sites_give():
    sites = ("llm.resid", "llm.resid:image")
    read = POLICY.predict_inputs(INPUTS, sites=sites).activations
    features = np.concatenate([read[site][:, LAYER] for site in sites], axis=1)
    change = np.tile(to_units(0.004, 0.0, POLICY.model.chunk), (2, 1))
    operator = BANK.operator(2, "linear", "given", gate=AlwaysOpen(), transform=ALL)
    intent = dataclasses.replace(operator.intent, change=jnp.asarray(change))  # type: ignore[type-var]
    moved = said(dataclasses.replace(operator, intent=intent))
    used = BANK.action_map("linear", 2).jacobian(jnp.asarray(features))
    table = BANK.operator(2, "exact", "given", gate=AlwaysOpen(), transform=ALL, jacobian=used)
    damped = dataclasses.replace(
        table,
        intent=intent,
        action_map=dataclasses.replace(table.action_map, damping=jnp.asarray(0.02)),  # type: ignore[type-var]
    )
    np.testing.assert_allclose(said(damped).raw_actions, moved.raw_actions, atol=1e-5)


def test_intents_by_name_take_the_size_they_are_given():
    size = np.array([0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0], np.float32)
    against = BANK.intent("against_motion", 2, size)
    assert isinstance(against, AgainstMotion)
    np.testing.assert_array_equal(against.size, size)
    normal = BANK.intent("along_normal", 2, size)
    assert isinstance(normal, AlongNormal)
    assert float(normal.size) == pytest.approx(0.2)
    up = BANK.intent("upward", 2, size)
    assert isinstance(up, Upward)
    assert float(up.size) == pytest.approx(0.2)
    own = BANK.intent("along_normal", 2)
    assert isinstance(own, AlongNormal)
    assert float(own.size) == pytest.approx(0.1)
    with pytest.raises(
        UserError, match="no intent 'action_value'; it has against_motion, upward, given, a"
    ):
        BANK.intent("action_value", 2)


def test_noise_has_the_activations_covariance_and_takes_the_maps_dose():
    noise = BANK.draw_noise(np.random.default_rng(0), 4000).reshape(4000, -1)
    factor = np.asarray(BANK.covariance).reshape(5, -1)
    some = slice(0, 40)
    np.testing.assert_allclose(
        np.cov(noise[:, some].T), factor[:, some].T @ factor[:, some], atol=0.6
    )
    operator = BANK.operator(2, "table", "given", noise=noise[:2].reshape(2, TOKENS, D))
    assert isinstance(operator.action_map, NoiseMap)
    assert isinstance(operator.action_map.of_map, TableMap)


def test_the_disk_gives_back_the_bank(tmp_path):
    path = save_causal_bank(tmp_path, BANK)
    assert path == tmp_path / "causal_bank"
    for folder in (tmp_path, path):
        again = restore_causal_bank(folder)
        for name in ("table", "terms", "covariance"):
            np.testing.assert_array_equal(getattr(again, name), getattr(BANK, name))
        assert again.effects == BANK.effects
        assert dataclasses.replace(again.metadata, code_version="") == METADATA
        assert again.metadata.code_version
        normal, kept = BANK.intents["along_normal"], again.intents["along_normal"]
        features = jnp.asarray(RNG.normal(size=(2, 2 * D)), jnp.float32)
        opened, risk = jnp.ones((2, 1)), jnp.ones((2, 14))
        np.testing.assert_array_equal(
            kept.wanted(features, opened, risk), normal.wanted(features, opened, risk)
        )
        push = again.action_map("linear", 2).push(features, jnp.ones((2, A)))
        np.testing.assert_array_equal(
            push, BANK.action_map("linear", 2).push(features, jnp.ones((2, A)))
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": [0.1]}, "its table has 9 rows, not 6"),
        ({"instructions": ["open it"]}, "its table has 9 rows, not 6"),
        ({"layer": 4}, "layer 4 is none of 4"),
        ({"reads": ["action"]}, "of 1 roles"),
        ({"damping": {"table": 0.1}}, "its damping"),
        ({"damping": {"table": 0.1, "linear": 0, "exact": 1}}, "its damping"),
        ({"per_token": False}, "56 pushes for one"),
        ({"form": "cubic"}, "form"),
        ({"model": 3}, "model = 3"),
        ({"intents": {"along_normal": "sideways"}}, "sideways"),
        ({"effects": {"table": {"motions": []}}}, "another version"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_a_bank_that_does_not_fit_itself_is_refused(tmp_path, change, message):
    path = save_causal_bank(tmp_path, BANK) / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=r"make the \w+ bank again") as refusal:
        restore_causal_bank(tmp_path)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
