"""The public API on the shipped policy, and what it says to bad input."""

import shutil

import jax
import numpy as np
import pytest

import mist_jax
from mist_jax.errors import UserError
from mist_jax.loading import MIST_NANO_FOLDER, shipped_policies
from mist_jax.policy.checkpoint import PARAMETERS, read_card

INSTRUCTIONS = ["pick up the black bowl on the stove and place it on the plate", "open the drawer"]


def observation(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "agentview_image": rng.integers(0, 256, (256, 256, 3), np.uint8),
        "robot0_eye_in_hand_image": rng.integers(0, 256, (256, 256, 3), np.uint8),
        "robot0_eef_pos": np.array([-0.1, 0.0, 1.1]),
        "robot0_eef_quat": np.array([1.0, 0.0, 0.0, 0.0]),
        "robot0_gripper_qpos": np.array([0.04, -0.04]),
    }


@pytest.fixture(scope="module")
def policy():
    return mist_jax.load_policy("mist-nano", dtype="float32")


def test_a_prediction_has_the_shapes_the_design_promises(policy):
    resid = policy.sites["llm.resid"]
    layers, width = resid.layers, resid.width
    prediction = policy.predict(
        [observation(0), observation(1)], INSTRUCTIONS, sites=("llm.resid",)
    )
    assert prediction.actions.shape == (2, 8, 7)
    assert prediction.actions.dtype == np.float32
    assert prediction.activations["llm.resid"].shape == (2, layers, width)
    assert prediction.risk.shape == (2, 7)
    assert prediction.gate.shape == (2, layers)
    assert not prediction.risk.any()
    assert not prediction.gate.any()


def test_instructions_of_different_length_give_the_same_actions_in_a_batch_as_alone(policy):
    observations = [observation(0), observation(1)]
    together = policy.predict(observations, INSTRUCTIONS).raw_actions
    for row in range(2):
        alone = policy.predict([observations[row]], [INSTRUCTIONS[row]]).raw_actions[0]
        np.testing.assert_allclose(alone, together[row], atol=2e-5)


@pytest.mark.parametrize("name", shipped_policies())
def test_a_shipped_policy_is_called_as_its_folder_and_fits_its_promises(name):
    shipped = mist_jax.load_policy(name)
    folder = MIST_NANO_FOLDER.with_name(name)
    count = sum(leaf.size for leaf in jax.tree.leaves(shipped.parameters))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert read_card(folder).name == name
    assert 3e6 <= count <= 8e6
    assert size < 20e6


def test_predict_refuses_what_does_not_fit_in_one_line(policy):
    with pytest.raises(UserError, match="as many instructions as observations"):
        policy.predict([observation(0)], INSTRUCTIONS)
    with pytest.raises(UserError, match=r"unknown site 'llm\.residual'; there are llm\.resid"):
        policy.predict([observation(0)], INSTRUCTIONS[:1], sites=("llm.residual",))
    other = mist_jax.Steering.off(batch=1, layers=2, width=8)
    with pytest.raises(UserError, match="the model 6 layers of width 256"):
        policy.predict([observation(0)], INSTRUCTIONS[:1], steering=other)
    with pytest.raises(UserError, match="has no 'agentview_image'"):
        policy.predict([{}], INSTRUCTIONS[:1])


def test_a_damaged_checkpoint_is_told_apart_from_a_good_one(tmp_path):
    folder = tmp_path / "policy"
    shutil.copytree(MIST_NANO_FOLDER, folder)
    largest = max((folder / PARAMETERS).rglob("*"), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    with pytest.raises(UserError, match=r"cannot be read .* convert or download it again"):
        mist_jax.load_policy(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        mist_jax.load_policy(folder)


def test_a_folder_that_is_no_policy_is_named(tmp_path):
    with pytest.raises(UserError, match="is not a policy"):
        mist_jax.load_policy(tmp_path)
