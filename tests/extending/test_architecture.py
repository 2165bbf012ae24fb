"""A policy of another architecture is one file: saved, loaded, tapped, judged and steered."""

import json

import jax
import numpy as np
import pytest

from mist_jax.benchmark.device_layout import DeviceLayout
from mist_jax.benchmark.random_weights import random_parameters
from mist_jax.errors import UserError
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.intervention.steering import Steering
from mist_jax.loading import MIST_NANO_FOLDER, load_policy
from mist_jax.policy.architectures import ARCHITECTURES
from mist_jax.policy.checkpoint import STATISTICS, TOKENIZER, save_policy
from tests.helpers.rollout_samples import inputs_of, spec
from tests.helpers.toy_reader import ToyReader, risk_of_stored, toy_risk

SITE = "mlp.hidden"


@pytest.fixture
def folder(extended, tmp_path):
    extended("policy")
    model = ARCHITECTURES["perceptron"]()
    save_policy(
        tmp_path / "perceptron",
        name="perceptron",
        model=model,
        parameters=random_parameters(model, "float32", DeviceLayout.of(jax.devices()[:1])),
        statistics=json.loads((MIST_NANO_FOLDER / STATISTICS).read_text()),
        tokenizer=MIST_NANO_FOLDER / TOKENIZER,
        provenance={},
    )
    return tmp_path / "perceptron"


def test_it_goes_through_everything_that_ours_does(folder):
    policy = load_policy(folder)
    inputs = [inputs_of(spec(state=state).key, 0) for state in range(2)]
    plain = policy.predict_inputs(inputs, sites=(SITE,))
    assert plain.actions.shape == (2, 2, 7)
    assert plain.activations[SITE].shape == (2, 3, 8)
    head = RiskHead.initial(jax.random.key(0), sites={SITE: 8}, hidden=4, layer=0)
    vectors = np.ones((1, 3, 8), np.float32)
    steering = Steering.of(vectors, np.ones((2, 1)), threshold=np.array([[-0.5], [2.0]]), site=SITE)
    steered = policy.predict_inputs(inputs, sites=(SITE,), steering=steering, risk_head=head)
    outside = risk_of_stored(head, plain.activations, np.stack([one.proprio for one in inputs]))
    np.testing.assert_allclose(steered.signed_risk, outside, rtol=1e-5)
    assert (steered.gate[0, 1:] > 0).all()
    assert not steered.gate[1].any()
    np.testing.assert_array_equal(steered.raw_actions[1], plain.raw_actions[1])
    assert np.abs(steered.raw_actions[0] - plain.raw_actions[0]).max() > 1e-4


def test_another_reader_forecasts_in_it_and_remembers(folder):
    policy = load_policy(folder)
    inputs = [inputs_of(spec(state=state).key, 0) for state in range(2)]
    reader = ToyReader.of({SITE: (1, 8)}, layer=2)
    proprio, memory, remembered = np.stack([one.proprio for one in inputs]), None, None
    for _ in range(2):
        said = policy.predict_inputs(inputs, sites=(SITE,), risk_head=reader, memory=memory)
        expected, remembered = toy_risk(reader, said.activations, proprio, remembered)
        np.testing.assert_allclose(said.signed_risk, expected, atol=1e-5)
        memory = said.memory


def test_without_the_extension_it_is_unknown(folder, monkeypatch):
    monkeypatch.setenv("MIST_EXTENSIONS", "")
    with pytest.raises(UserError, match="unknown architecture 'perceptron'"):
        load_policy(folder)
