"""A checkpoint in the published form gives the actions of an independent PyTorch build."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mist_jax.loading import load_policy
from mist_jax.policy.openvla_oft.model import OpenVLAOFT, bound_model
from mist_jax.policy.openvla_oft.network.config import OpenVLAOFTConfig
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from mist_jax.policy.openvla_oft.sequence import layout_of, read_actions
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs
from mist_jax.record.observation import CAMERAS
from mist_jax.weights.convert import convert_checkpoint
from tests.helpers.published_checkpoint import (
    DINO_PIXELS,
    SIGLIP_PIXELS,
    statistics_of,
    write_checkpoint,
)
from tests.helpers.torch_reference import Sizes, Stages, TorchReference

TOLERANCE = 1e-4
INSTRUCTIONS = ("open the drawer", "pick up the black bowl", "Open")
VARIANTS = {
    "l1": Sizes(),
    "other sizes": Sizes(
        image=42,
        dino_width=48,
        dino_depth=3,
        registers=2,
        siglip_width=80,
        siglip_depth=3,
        siglip_ratio=2.5,
        width=96,
        hidden=100,
        layers=2,
        heads=6,
        vocabulary=32128,
        head_blocks=3,
    ),
    "one image, no proprio": Sizes(images=1, proprio=0),
    "chunk of five": Sizes(chunk=5),
    "fourteen dimensions": Sizes(action=14, proprio=14, images=2, chunk=25),
    "diffusion": Sizes(head="diffusion", layers=2),
    "discrete tokens": Sizes(head="tokens", proprio=0),
    "FiLM": Sizes(film=True),
}


def observations() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    made = []
    for _ in INSTRUCTIONS:
        quaternion = rng.normal(size=4)
        made.append(
            {
                **{
                    f"{camera}_image": rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
                    for camera in CAMERAS
                },
                "robot0_eef_pos": rng.normal(0, 0.5, 3),
                "robot0_eef_quat": quaternion / np.linalg.norm(quaternion),
                "robot0_gripper_qpos": rng.normal(0, 0.1, 2),
            }
        )
    return made


class Case(NamedTuple):
    reference: TorchReference
    policy: Policy
    folder: Path


@pytest.fixture(scope="module", params=VARIANTS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    reference = TorchReference(VARIANTS[request.param], seed=3)
    folder = tmp_path_factory.mktemp("parity")
    published = write_checkpoint(folder / "published", reference)
    converted = convert_checkpoint(published, folder / "policy", "float32")
    return Case(reference, load_policy(converted, dtype=jnp.float32), published)


def inputs_of(case: Case) -> list[PolicyInputs]:
    """As the preprocessor gives them; a model of another robot takes a random state."""
    if case.reference.sizes.proprio in (0, 8):
        pairs = zip(observations(), INSTRUCTIONS, strict=True)
        return [case.policy.preprocessor(seen, text) for seen, text in pairs]
    plain = dataclasses.replace(case.policy.preprocessor, takes_proprio=False)
    rng = np.random.default_rng(1)
    return [
        dataclasses.replace(
            plain(seen, text),
            proprio=rng.uniform(-1, 1, case.reference.sizes.proprio).astype(np.float32),
        )
        for seen, text in zip(observations(), INSTRUCTIONS, strict=True)
    ]


def torch_stages(case: Case, inputs: PolicyInputs, noise: np.ndarray) -> Stages:
    def normalised(image: np.ndarray, constants: dict[str, list[float]]) -> torch.Tensor:
        mean, std = (torch.tensor(constants[name])[:, None, None] for name in ("mean", "std"))
        return (torch.tensor(image).permute(2, 0, 1) / 255 - mean) / std

    return case.reference(
        [[normalised(i, DINO_PIXELS), normalised(i, SIGLIP_PIXELS)] for i in inputs.images],
        inputs.token_ids.tolist(),
        torch.tensor(inputs.proprio),
        torch.tensor(noise),
    )


def model_of(policy: Policy) -> OpenVLAOFT:
    return bound_model(config_of(policy), policy.parameters)


def config_of(policy: Policy) -> OpenVLAOFTConfig:
    assert isinstance(policy.model, OpenVLAOFTModel)
    return policy.model.config


def assert_close(ours, theirs, what: str) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, what
    assert np.isfinite(theirs).all(), what
    assert np.abs(theirs).max() > 0.05, what
    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE, rtol=TOLERANCE, err_msg=what)


def test_every_stage_is_the_reference(case: Case) -> None:
    inputs = inputs_of(case)
    batch = case.policy.model.collate(inputs, seeds=range(len(inputs)))
    model, config = model_of(case.policy), config_of(case.policy)
    layout = layout_of(config, batch.prompt_length, batch.token_ids.shape[1])
    outputs = jax.jit(
        lambda batch: model(batch, None, sites=("llm.resid",), pool="tokens"),
    )(batch)
    embeddings, _ = model.embed(batch, layout)
    fixed = config.action_head != "diffusion"  # else the last denoising step's tokens differ
    hidden = model.language(embeddings, layout).hidden if fixed else None
    for row, one in enumerate(inputs):
        stages = torch_stages(case, one, np.asarray(batch.noise[row]))
        length, count = len(stages.embeddings), config.action_tokens
        patches = slice(1, 1 + len(stages.patches))
        assert_close(embeddings[row, patches], stages.patches, "projected patches")
        if fixed:
            assert hidden is not None
            assert_close(embeddings[row, :length], stages.embeddings, "embeddings")
            theirs = stages.layers[-1][length - 2 - count : length - 2]
            assert_close(hidden[row], theirs, "final norm")
        for layer, theirs in enumerate(stages.layers[:-1]):
            ours = outputs.activations["llm.resid"][row, layer]
            read = theirs[length - 2 - count : length - 2]
            assert_close(ours, read, f"layer {layer}")
        assert stages.actions is not None
        assert_close(outputs.actions[row], stages.actions, "actions")
    if fixed and not config.film:
        features = model.vision.features(batch.images[:1], None)[0][0]
        stages = torch_stages(case, inputs[0], np.asarray(batch.noise[0]))
        dino, siglip = np.split(np.asarray(features), [config.dino.width], axis=-1)
        assert_close(dino, stages.dino, "DINOv2")
        assert_close(siglip, stages.siglip, "SigLIP")


HEADS = ("l1", "diffusion", "discrete tokens", "FiLM")


@pytest.mark.parametrize("case", HEADS, indirect=True)
def test_a_padded_batch_gives_the_actions_of_each_example_alone(case: Case) -> None:
    inputs = inputs_of(case)
    assert len({len(one.token_ids) for one in inputs}) == len(inputs)
    seeds = range(len(inputs))
    together = case.policy.predict_inputs(inputs, seeds=seeds)
    assert np.abs(together.raw_actions[0] - together.raw_actions[1]).max() > 1e-2
    for row, (one, seed) in enumerate(zip(inputs, seeds, strict=True)):
        alone = case.policy.predict_inputs([one], seeds=[seed])
        np.testing.assert_allclose(together.raw_actions[row], alone.raw_actions[0], atol=TOLERANCE)


@pytest.mark.parametrize("case", ["l1", "fourteen dimensions"], indirect=True)
def test_actions_are_unnormalised_by_the_checkpoints_statistics(case: Case) -> None:
    inputs = inputs_of(case)[:1]
    sizes = case.reference.sizes
    noise = np.asarray(case.policy.model.collate(inputs, seeds=[0]).noise[0])
    actions = torch_stages(case, inputs[0], noise).actions
    assert actions is not None
    low_name, high_name = ("min", "max") if sizes.action == 14 else ("q01", "q99")
    bounds = statistics_of(case.reference.sizes)["libero_spatial_no_noops"]["action"]
    low, high = np.array(bounds[low_name]), np.array(bounds[high_name])
    theirs = actions.numpy().astype(float)
    theirs[:, :-1] = (0.5 * (theirs + 1) * (high - low + 1e-8) + low)[:, :-1]
    ours = case.policy.predict_inputs(inputs, seeds=[0]).raw_actions[0]
    assert_close(ours, theirs, "un-normalised actions")


def test_the_command_line_from_raw_observations(tmp_path: Path) -> None:
    reference = TorchReference(Sizes(width=80, heads=5), seed=8)
    published = write_checkpoint(tmp_path / "published", reference)
    flags = [f"--hf_checkpoint={published}", f"--output_dir={tmp_path / 'policy'}"]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.convert_weights", *flags, "--dtype=float32"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    policy = load_policy(tmp_path / "policy", dtype=jnp.float32)
    prediction = policy.predict(observations(), list(INSTRUCTIONS))
    case = Case(reference, policy, published)
    bounds = statistics_of(reference.sizes)["libero_spatial_no_noops"]["action"]
    low, high = np.array(bounds["q01"]), np.array(bounds["q99"])
    for row, one in enumerate(inputs_of(case)):
        actions = torch_stages(case, one, np.zeros((8, 7))).actions
        assert actions is not None
        theirs = actions.numpy().astype(float)
        theirs[:, :-1] = (0.5 * (theirs + 1) * (high - low + 1e-8) + low)[:, :-1]
        assert_close(prediction.raw_actions[row], theirs, "actions")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Case:
    reference = TorchReference(Sizes(), seed=4)
    folder = tmp_path_factory.mktemp("traps")
    published = write_checkpoint(folder / "published", reference)
    converted = convert_checkpoint(published, folder / "policy", "float32")
    return Case(reference, load_policy(converted, dtype=jnp.float32), published)


def error_of(case: Case, **changes) -> float:
    """How far the actions are from the reference with a changed architecture."""
    config = dataclasses.replace(config_of(case.policy), **changes)
    inputs = inputs_of(case)[:1]
    batch = OpenVLAOFTModel(config).collate(inputs)
    run = jax.jit(lambda parameters, batch: bound_model(config, parameters)(batch).actions)
    ours = run(case.policy.parameters, batch)[0]
    theirs = torch_stages(case, inputs[0], np.zeros((8, 7))).actions
    assert theirs is not None
    return float(np.abs(np.asarray(ours) - theirs.numpy()).max())


def test_traps_would_be_seen(plain: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert error_of(plain) < TOLERANCE
    config = config_of(plain.policy)
    swapped = {
        "dino": dataclasses.replace(config.dino, mean=(0.485, 0.456, 0.406)),
        "siglip": config.siglip,
    }
    assert error_of(plain, **swapped) > TOLERANCE  # constants that are not bfloat16-rounded
    assert error_of(plain, rope_theta=1e3) > TOLERANCE
    assert error_of(plain, stop_token_id=1) > TOLERANCE
    assert error_of(plain, rms_norm_eps=1e-2) > TOLERANCE
    monkeypatch.setattr(
        "mist_jax.policy.openvla_oft.network.vision.gelu",
        lambda x: jax.nn.gelu(x, approximate=True),
    )
    assert error_of(plain) > TOLERANCE  # tanh GELU
    monkeypatch.undo()
    late = lambda hidden, layout, action_tokens: read_actions(  # noqa: E731
        hidden, dataclasses.replace(layout, readout=layout.readout + 1), action_tokens
    )
    monkeypatch.setattr("mist_jax.policy.openvla_oft.language.read_actions", late)
    assert error_of(plain) > 100 * TOLERANCE  # readout shifted by one


def test_bfloat16_is_no_worse_than_pytorchs_own(plain: Case) -> None:
    inputs = inputs_of(plain)
    exact = np.stack(
        [torch_stages(plain, one, np.zeros((8, 7))).actions.numpy() for one in inputs]  # type: ignore[union-attr]
    )
    half = TorchReference(plain.reference.sizes)
    half.load_state_dict(plain.reference.state_dict())
    half.to(torch.bfloat16)
    theirs = torch_bfloat16(half, inputs)
    policy = dataclasses.replace(
        plain.policy,
        parameters=jax.tree.map(lambda x: x.astype(jnp.bfloat16), plain.policy.parameters),
    )
    model = model_of(policy)
    run = jax.jit(lambda batch: model(batch).actions)
    ours = np.asarray(run(policy.model.collate(inputs, None)), np.float32)
    our_error, their_error = (np.sqrt(np.mean((x - exact) ** 2)) for x in (ours, theirs))
    print(f"bfloat16 RMS error: ours {our_error:.4f}, PyTorch {their_error:.4f}")
    assert our_error < 1.5 * their_error


def torch_bfloat16(model: TorchReference, inputs: list[PolicyInputs]) -> np.ndarray:
    rows = []
    for one in inputs:
        pixels = []
        for image in one.images:
            towers = []
            for constants in (DINO_PIXELS, SIGLIP_PIXELS):
                mean, std = (torch.tensor(constants[n])[:, None, None] for n in ("mean", "std"))
                unit = torch.tensor(image).permute(2, 0, 1) / 255
                towers.append(((unit - mean) / std).bfloat16())
            pixels.append(towers)
        stages = model(pixels, one.token_ids.tolist(), torch.tensor(one.proprio).bfloat16())
        assert stages.actions is not None
        rows.append(stages.actions.float().numpy())
    return np.stack(rows)
