"""The seam for architectures: a policy of another kind goes through everything that ours does."""

import json
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pytest

from mist_jax.benchmark.device_layout import DeviceLayout
from mist_jax.benchmark.random_weights import random_parameters
from mist_jax.benchmark.timing import measure
from mist_jax.errors import UserError
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.intervention.steering import Steering
from mist_jax.loading import MIST_NANO_FOLDER, load_policy
from mist_jax.policy.architectures import ARCHITECTURES, PRESETS, model_of
from mist_jax.policy.checkpoint import CONFIG, STATISTICS, TOKENIZER, read_card, save_policy
from mist_jax.policy.preprocessing.gripper import gripper_for_environment
from tests.extending.examples.policy import SITE, Perceptron
from tests.helpers.tiny import tiny_policy, tiny_policy_inputs
from tests.helpers.toy_reader import risk_of_stored

ALONE = DeviceLayout.of(jax.devices()[:1])


@dataclass(frozen=True)
class Toy(Perceptron):
    """The example of docs/extending.md, under a name that no extension gives."""

    name = "toy"


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Any:
    """Saved and restored through the same code as every policy."""
    folder = tmp_path_factory.mktemp("toy") / "policy"
    saved = random_parameters(Toy(), "float32", ALONE)
    card = save_policy(
        folder,
        name="toy",
        model=Toy(),
        parameters=saved,
        statistics=json.loads((MIST_NANO_FOLDER / STATISTICS).read_text()),
        tokenizer=MIST_NANO_FOLDER / TOKENIZER,
        provenance={},
    )
    with pytest.raises(UserError, match="unknown architecture 'toy'; there are openvla-oft"):
        load_policy(folder)
    policy = load_policy(folder, architectures={**ARCHITECTURES, "toy": Toy})
    assert policy.model == Toy()
    assert policy.identity == card.identity
    jax.tree.map(np.testing.assert_array_equal, policy.parameters, saved)
    return policy


def test_another_architecture_predicts_and_its_sites_are_read(toy):
    inputs = tiny_policy_inputs(3)
    prediction = toy.predict_inputs(inputs, sites=(SITE,))
    assert prediction.actions.shape == (3, 2, 7)
    assert prediction.activations[SITE].shape == (3, 3, 8)
    last = prediction.activations[SITE][:, -1] @ toy.parameters["out"]["kernel"]
    raw = toy.preprocessor.unnormalise(np.asarray(last).reshape(3, 2, 7))
    np.testing.assert_allclose(prediction.raw_actions, raw, atol=1e-5)
    with pytest.raises(UserError, match=rf"unknown site 'llm\.resid'; there are {SITE}"):
        toy.predict_inputs(inputs, sites=("llm.resid",))


def test_another_architecture_has_its_risk_read_and_is_steered_behind_the_gate(toy):
    inputs = tiny_policy_inputs(3)
    head = RiskHead.initial(jax.random.key(0), sites={SITE: 8}, hidden=4, layer=0)
    plain = toy.predict_inputs(inputs, sites=(SITE,), risk_head=head)
    proprio = np.stack([one.proprio for one in inputs])
    expected = risk_of_stored(head, plain.activations, proprio)
    np.testing.assert_allclose(plain.signed_risk, expected, atol=1e-6)
    threshold = float(np.sort(plain.signed_risk[:, 0])[1])
    steering = Steering.of(
        np.ones((1, 3, 8)),
        np.ones((3, 1)),
        gates=np.eye(14)[:1],
        threshold=threshold,
        site=SITE,
    )
    steered = toy.predict_inputs(inputs, steering=steering, risk_head=head)
    alarmed = plain.signed_risk[:, 0] > threshold
    assert alarmed.sum() == 1
    np.testing.assert_array_equal(steered.gate[:, 0], 0)
    np.testing.assert_array_equal((steered.gate[:, 1:] > 0).all(1), alarmed)
    np.testing.assert_array_equal(steered.raw_actions[~alarmed], plain.raw_actions[~alarmed])
    assert np.abs(steered.raw_actions - plain.raw_actions)[alarmed].max() > 1e-3


def test_another_architecture_is_timed(toy):
    timing = measure(toy.model, toy.parameters, batch=2, steering="on", repeats=1, layout=ALONE)
    assert timing is not None
    assert timing.flops == 2 * 2 * (8 * 8 + 3 * 8 * 8 + 8 * 14)


def test_a_card_that_names_no_architecture_is_of_the_first_one(tmp_path):
    described = json.loads((MIST_NANO_FOLDER / CONFIG).read_text())
    described["architecture"].pop("name", None)
    (tmp_path / CONFIG).write_text(json.dumps(described))
    assert read_card(tmp_path).model == PRESETS["mist-nano"]
    described["architecture"]["name"] = "pi0"
    (tmp_path / CONFIG).write_text(json.dumps(described))
    with pytest.raises(UserError, match="unknown architecture 'pi0'"):
        read_card(tmp_path)


def test_actions_can_be_executed_as_they_are():
    prediction = tiny_policy().predict_inputs(tiny_policy_inputs(2))
    expected = np.clip(gripper_for_environment(prediction.raw_actions), -1, 1)
    np.testing.assert_array_equal(prediction.actions, expected)
    assert prediction.actions.dtype == np.float32
    assert set(np.unique(prediction.actions[..., 6])) <= {-1.0, 0.0, 1.0}


def test_nothing_that_is_made_under_a_trace_is_kept():
    policy, inputs = tiny_policy(), tiny_policy_inputs(1)

    @jax.jit
    def inside(x):
        return policy.intervention(1, None, None), x

    inside(1.0)
    policy.predict_inputs(inputs)
    policy.predict_inputs(inputs, risk_head=RiskHead.off(sites={"llm.resid": 32}))


def test_a_policy_introduces_itself_in_a_line():
    shown = repr(tiny_policy())
    assert len(shown) < 200
    assert "tiny@000000000000" in shown
    assert "float32" in shown
    assert "llm.resid" in shown
    assert "action_head" in shown


@pytest.mark.parametrize("name", [[], {}, 1, None, "another"])
def test_an_architecture_that_is_no_known_name_is_refused_in_one_line(name):
    with pytest.raises(UserError, match="unknown architecture"):
        model_of({"name": name})
