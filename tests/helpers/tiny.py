"""A policy of the real architecture that is small enough for every test."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.steering import Steering
from mist_jax.loading import MIST_NANO_FOLDER
from mist_jax.policy.checkpoint import STATISTICS, TOKENIZER, PolicyCard
from mist_jax.policy.model import PolicyModel
from mist_jax.policy.openvla_oft.model import ModelInputs, initial_parameters
from mist_jax.policy.openvla_oft.network.config import (
    MIST_NANO,
    OpenVLAOFTConfig,
    VisionTowerConfig,
)
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs, Preprocessor

TOWER = VisionTowerConfig(
    width=16,
    blocks=2,
    heads=2,
    mlp_width=24,
    patch_size=14,
    prefix_tokens=0,
    layer_scale=False,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
TINY = dataclasses.replace(
    MIST_NANO,
    dino=dataclasses.replace(TOWER, prefix_tokens=3, layer_scale=True),
    siglip=TOWER,
    image_size=28,
    crop_side=28,
    projector_width=32,
    width=32,
    layers=4,
    heads=2,
    mlp_width=48,
    vocab_size=64,
    prompt_capacity=12,
)
TINY_MODEL = OpenVLAOFTModel(TINY)


def tiny_parameters(config: OpenVLAOFTConfig = TINY, seed: int = 0) -> dict[str, Any]:
    return initial_parameters(config, seed)


def tiny_inputs(lengths: list[int], config: OpenVLAOFTConfig = TINY, seed: int = 0) -> ModelInputs:
    """Random inputs; row i is the same for every batch that begins with the same rows."""
    rows = [np.random.default_rng((seed, row)) for row in range(len(lengths))]
    size, capacity = config.image_size, config.capacity_for(max(lengths))
    token_ids = np.zeros((len(lengths), capacity), np.int32)
    for ids, rng, length in zip(token_ids, rows, lengths, strict=True):
        ids[:length] = rng.integers(4, config.vocab_size, length)
        ids[capacity - 1] = ids[capacity - 1] if length == capacity else 9  # padding is not zero
    shape = (config.images, size, size, 3)
    return ModelInputs(
        images=jnp.asarray(np.stack([r.integers(0, 256, shape, np.uint8) for r in rows])),
        proprio=jnp.asarray(np.stack([r.uniform(-1, 1, config.proprio_dim) for r in rows]), "f"),
        token_ids=jnp.asarray(token_ids),
        prompt_length=jnp.asarray(lengths, jnp.int32),
        noise=jnp.asarray(
            np.stack([r.normal(size=(config.chunk, config.action_dim)) for r in rows]), "f"
        ),
    )


def bits(array) -> np.ndarray:
    """What two arrays of equal bits have in common, -0 and NaN included."""
    return np.asarray(array, np.float32).view(np.uint32)


def assert_same_of_two_programs(ours, theirs) -> None:
    """Bit for bit; on a GPU to the last digits, as XLA chooses kernels for every program anew."""
    if jax.default_backend() == "gpu":
        np.testing.assert_allclose(ours, theirs, atol=2e-5, rtol=2e-5)
    else:
        np.testing.assert_array_equal(bits(ours), bits(theirs))


def row_of(tree, row: int):
    """One example of a batch, as a batch of one."""
    return jax.tree.map(lambda leaf: leaf[row : row + 1], tree)


def tiny_policy(model: PolicyModel = TINY_MODEL, parameters: Any = None) -> Policy:
    """In memory, with mist-nano's statistics; made for `tiny_policy_inputs`."""
    files = MIST_NANO_FOLDER / STATISTICS, MIST_NANO_FOLDER / TOKENIZER
    before = Preprocessor.of(model.preprocessing, *files)
    card = PolicyCard("tiny", model, "float32", "0" * 64)
    return Policy(card, parameters or tiny_parameters(), before)


def tiny_policy_inputs(batch: int, seed: int = 0) -> list[PolicyInputs]:
    rng, size = np.random.default_rng(seed), TINY.image_size
    return [
        PolicyInputs(
            images=rng.integers(0, 256, (TINY.images, size, size, 3), np.uint8),
            proprio=rng.uniform(-1, 1, TINY.proprio_dim).astype(np.float32),
            token_ids=rng.integers(4, TINY.vocab_size, 6 + row).astype(np.int32),
            prompt="",
        )
        for row in range(batch)
    ]


def intervention(
    steering: Steering | None = None,
    risk_head: RiskHead | None = None,
    *,
    batch: int = 1,
    config: OpenVLAOFTConfig = TINY,
) -> Intervention:
    off = Steering.off(batch=batch, layers=config.layers, width=config.width)
    return Intervention.of(
        risk_head or RiskHead.off(sites={"llm.resid": config.width}), steering or off
    )
