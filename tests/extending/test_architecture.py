"""A policy of another architecture is one file: saved, loaded, tapped, judged and steered."""

import json
from typing import Any

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
from mist_jax.risk.plan import StudyConfig
from mist_jax.risk.study.registry import DETECTORS, registry_of
from mist_jax.risk.study.train import train_risk
from mist_jax.steering.causal.build import CausalConfig, make_causal_bank
from mist_jax.steering.causal.checkpoint import restore_causal_bank, save_causal_bank
from tests.helpers.causal_states import made_up_states
from tests.helpers.rollout_samples import inputs_of, spec
from tests.helpers.toy_reader import ToyReader, risk_of_stored, toy_risk
from tests.risk.test_detectors import QUICK, study

SITE = "llm.hidden"


@pytest.fixture
def folder(extended, tmp_path):
    extended("policy")
    return saved(tmp_path)


def saved(tmp_path, **size):
    model: Any = ARCHITECTURES["perceptron"](**size)
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


def test_a_head_trained_on_its_episodes_says_inside_what_it_says_outside(extended, tmp_path):
    extended("policy")
    policy = load_policy(saved(tmp_path, layers=4))
    samples = study(site=SITE, model=policy.identity, width=8)  # of layers 1 and 3
    config = StudyConfig(detector="head", target="all", max_layer=1, train=QUICK)
    head = train_risk(samples, "h", config, detectors=registry_of([DETECTORS["head"]])).head
    inputs = [inputs_of(spec(state=state).key, 0) for state in range(2)]
    said = policy.predict_inputs(inputs, sites=(SITE,), risk_head=head)
    outside = risk_of_stored(head, said.activations, np.stack([one.proprio for one in inputs]))
    np.testing.assert_allclose(said.signed_risk, outside, rtol=1e-5)


def test_a_causal_bank_is_made_of_its_site(extended, tmp_path):
    extended("policy")
    policy = load_policy(saved(tmp_path))
    config = CausalConfig(site=SITE, reads=("action",), layers=(0, 1), measured=4, sizes=(0.001,))
    bank, _ = make_causal_bank(policy, made_up_states(policy), config)
    save_causal_bank(tmp_path, bank)
    bank = restore_causal_bank(tmp_path)
    assert (bank.metadata.site, bank.metadata.layers) == (SITE, 3)
    assert bank.effects["exact"].slope == pytest.approx(1, abs=0.1)


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
