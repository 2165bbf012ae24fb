"""From samples and pictures to banks that say which of their directions act as they are called."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.intervention.features import Projection
from mist_jax.risk.features import Samples, gather_samples
from mist_jax.steering.causal.bank import FORMS, CausalBank, CausalMetadata
from mist_jax.steering.causal.checkpoint import restore_causal_bank, save_causal_bank
from mist_jax.steering.causal.states import TEST, CausalStates, split_states
from mist_jax.steering.checkpoint import restore_bank
from mist_jax.steering.conceptors.checkpoint import restore_conceptors
from mist_jax.steering.learned.learn import LearningConfig
from mist_jax.steering.proof import NOT_MEASURED
from mist_jax.steering.study.extraction_run import (
    Extraction,
    ExtractionConfig,
    extract_banks,
    save_extraction,
)
from mist_jax.steering.study.registry import METHODS, in_order
from tests.helpers.linear_policy import LAYERS, WIDTH, linear_inputs, linear_policy
from tests.helpers.synthetic_episodes import SITE, study_episodes

METHODS_TRIED = ("contrast", "conceptor", "learned", "contrast_permuted", "random")
SEED = 0


def samples_of(readout: np.ndarray, model: str) -> Samples:
    """Before a contact along +x the activation is such that the policy moves along +x."""
    episodes = study_episodes(
        lambda a, s, rng: rng.random(len(s)) < 0.3,
        scenes=40, layers=tuple(range(LAYERS)), width=WIDTH, model=model,
    )  # fmt: skip
    samples = gather_samples(episodes, SITE, horizon=8, target="all")
    along = 4 * np.linalg.pinv(readout)[:, 0]
    way = samples.risk[:, 0].astype(float) - samples.risk[:, 1]
    activation = samples.activation + way[:, None, None] * along
    site = dataclasses.replace(samples.sites[SITE], values=activation.astype(np.float32))
    return dataclasses.replace(samples, sites={SITE: site})


def states_of(samples: Samples, count: int = 20) -> CausalStates:
    """One state of each of the first scenes."""
    keys = sorted({facts.scene for facts in samples.episodes})[:count]
    return CausalStates(
        inputs=tuple(linear_inputs(count)),
        instruction=np.full(count, "go"),
        scene=np.arange(count),
        key=np.asarray(keys, str),
        step=np.zeros(count, np.int32),
        max_steps=np.ones(count, np.int32),
        raw_actions=np.zeros((count, 2, 7), np.float32),
    )


@pytest.fixture(scope="module")
def problem():
    policy, readout = linear_policy()
    samples = samples_of(readout, policy.identity)
    return policy, samples, states_of(samples)


@pytest.fixture(scope="module")
def made(problem) -> Extraction:
    policy, samples, states = problem
    config = ExtractionConfig(
        METHODS_TRIED, layers="1", seed=SEED, measured=4, scaled_on=4,
        learning=LearningConfig(steps=24, batch=4, states=8),
    )  # fmt: skip
    return extract_banks(samples, "hash", policy, config, states)


def test_what_moves_the_action_as_it_is_called_is_causal_and_chance_is_not(made):
    assert made.proofs["contrast", "x+"].causal
    assert made.proofs["contrast", "x-"].causal
    assert made.proofs["learned", "x+"].causal
    assert not made.proofs["random", "x+"].causal
    assert not made.proofs["contrast_permuted", "x+"].causal
    assert made.proofs["conceptor", "x+"].effect is not None


def test_nothing_comes_from_the_scenes_that_effects_are_measured_on(problem, made):
    """What stands in the held-out scenes' activations does not change what is found."""
    policy, samples, states = problem
    held_out = states.part(split_states(states, SEED) == TEST)
    out = {tuple(key) for key in held_out.key.tolist()}
    of = [tuple(map(str, facts.scene)) in out for facts in samples.episodes]
    rows = np.asarray(of)[samples.episode]
    assert 0 < rows.sum() < len(rows) / 2
    values = samples.activation.copy()
    values[rows] += 100.0
    spoilt = dataclasses.replace(
        samples, sites={SITE: dataclasses.replace(samples.sites[SITE], values=values)}
    )
    config = ExtractionConfig(("contrast",), layers="1", seed=SEED, measured=1, scaled_on=1)
    again = extract_banks(spoilt, "hash", policy, config, states)
    assert again.bank is not None
    assert made.bank is not None
    units = [
        one / np.linalg.norm(one, axis=-1, keepdims=True)
        for one in (
            np.asarray(bank.method("contrast").vectors)[:, 1] for bank in (again.bank, made.bank)
        )
    ]
    np.testing.assert_allclose(*units, atol=1e-6)


def test_without_pictures_nothing_is_proven_and_learned_is_refused(problem):
    policy, samples, _ = problem
    plain = extract_banks(samples, "hash", policy, ExtractionConfig(("contrast",), layers="1"))
    assert plain.bank is not None
    assert {proof.reason for proof in plain.bank.proofs} == {NOT_MEASURED}
    with pytest.raises(UserError, match=r"no direction of 'contrast' .* not measured"):
        plain.bank.proven()
    with pytest.raises(UserError, match="collect with --images=query, or leave learned out"):
        extract_banks(samples, "hash", policy, ExtractionConfig(("learned",), layers="1"))


def test_effects_are_in_the_summary_the_banks_and_a_figure(made, tmp_path):
    paths = save_extraction(tmp_path, made)
    assert [path.name for path in paths] == ["steering_bank", "conceptor_bank"]
    summary = json.loads((tmp_path / "summary.json").read_text())["methods"]
    told = summary["contrast"]["directions"]["x+"]["on_actions"]
    assert told["causal"] is True
    assert told["effect"]["right"] == told["effect"]["count"] == 4
    assert summary["random"]["directions"]["x+"]["on_actions"]["reason"]
    assert summary["learned"]["directions"]["x+"]["stability"] > 0.9
    bank = restore_bank(tmp_path).method("contrast")
    assert bank.proofs[0] == made.proofs["contrast", "x+"]
    assert bank.proven().names == ("x+", "x-")
    np.testing.assert_allclose(
        bank.dosed(np.full(7, 0.2)), [0.2 * proof.per_unit for proof in bank.proofs], rtol=1e-6
    )
    assert restore_conceptors(tmp_path).proofs[0] == made.proofs["conceptor", "x+"]
    assert (tmp_path / "plots" / "steering_effects.png").stat().st_size > 3000


def test_conceptors_alone_make_no_bank_of_directions(problem, tmp_path):
    policy, samples, _ = problem
    config = ExtractionConfig(("conceptor", "conceptor_random"), layers="1")
    alone = extract_banks(samples, "hash", policy, config)
    assert alone.bank is None
    assert [path.name for path in save_extraction(tmp_path, alone)] == ["conceptor_bank"]
    directions = extract_banks(samples, "hash", policy, ExtractionConfig(("contrast",), layers="1"))
    save_extraction(tmp_path, directions)  # replaces: nothing of the old one stays
    assert {path.name for path in tmp_path.iterdir()} == {"steering_bank", "summary.json", "plots"}
    with pytest.raises(UserError, match="add conceptor to --methods"):
        extract_banks(samples, "hash", policy, ExtractionConfig(("conceptor_random",), layers="1"))


def causal_bank(model: str, dataset_hash: str) -> CausalBank:
    metadata = CausalMetadata(
        model=model, layer=1, layers=LAYERS, chunk=2, instructions=("go",), edges=(),
        damping=dict.fromkeys(FORMS, 0.01), reads=("action",), dataset_hash=dataset_hash,
    )  # fmt: skip
    return CausalBank(
        table=jnp.ones((2, 7, 1, WIDTH)),
        projection=Projection.of(np.zeros(WIDTH), np.ones((WIDTH, 1)), np.ones(1)),
        terms=jnp.ones((2, 7, 1, WIDTH)),
        covariance=jnp.ones((1, 1, WIDTH)),
        own=jnp.ones((2, 7)),
        intents={},
        effects={},
        metadata=metadata,
    )


@pytest.mark.parametrize("changed", [None, "model", "dataset_hash"])
def test_a_causal_bank_stays_beside_directions_of_its_own_policy_and_data_alone(
    problem, tmp_path, changed
):
    policy, samples, _ = problem
    of = {"model": policy.identity, "dataset_hash": "hash"} | ({changed: "old"} if changed else {})
    save_causal_bank(tmp_path, causal_bank(**of))
    (tmp_path / "summary.json").write_text('{"causal": {"layer": 1}}')
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "causal_effects.png").touch()
    made = extract_banks(samples, "hash", policy, ExtractionConfig(("contrast",), layers="1"))
    said = []
    save_extraction(tmp_path, made, said.append)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary["methods"]) == {"contrast"}
    figure = tmp_path / "plots" / "causal_effects.png"
    if changed is None:
        assert restore_causal_bank(tmp_path).metadata.dataset_hash == "hash"
        assert (summary["causal"], figure.exists(), said) == ({"layer": 1}, True, [])
    else:
        assert not (tmp_path / "causal_bank").exists()
        assert ("causal" in summary, figure.exists()) == (False, False)
        assert len(said) == 1
        assert "causal_bank, which was of another policy or of other data" in said[0]


def test_controls_come_last():
    named = ("conceptor_random", "random", "learned", "contrast")
    assert [method.name for method in in_order(named)][:2] == ["learned", "contrast"]
    assert {name for name, row in METHODS.items() if row.control} == {"random", "conceptor_random"}
