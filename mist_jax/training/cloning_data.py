"""Samples as the arrays of the compiled training step."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from mist_jax.policy.openvla_oft.network.config import OpenVLAOFTConfig
from mist_jax.policy.preprocessing.gripper import gripper_for_policy
from mist_jax.policy.preprocessing.prompt import prompt_of
from mist_jax.policy.preprocessing.proprio import normalise_proprio
from mist_jax.policy.preprocessing.statistics import Bounds, Statistics
from mist_jax.policy.preprocessing.tokenizer import PromptTokenizer
from mist_jax.training.behaviour_cloning import CloningData
from mist_jax.training.samples import CloningSamples, concatenate

CAPACITY_STEP = 16384


def cloning_data(
    config: OpenVLAOFTConfig,
    groups: Sequence[tuple[CloningSamples, float]],
    statistics: Statistics,
    tokenizer: PromptTokenizer,
) -> CloningData:
    """All groups of samples on the device; a group's weight is the share of the draws it gets."""
    groups = [(samples, weight) for samples, weight in groups if len(samples)]
    samples = concatenate([samples for samples, _ in groups])
    weight = np.concatenate([np.full(len(s), w / len(s)) for s, w in groups])
    padding = -len(samples) % CAPACITY_STEP
    assert statistics.proprio is not None
    ids = [tokenizer(prompt_of(text)) for text in samples.instructions]
    token_ids = np.zeros((len(ids), config.capacity_for(max(map(len, ids)))), np.int32)
    for row, one in zip(token_ids, ids, strict=True):
        row[: len(one)] = one
    actions = normalise_actions(gripper_for_policy(samples.actions), statistics.action)
    return CloningData(
        images=_padded(samples.images, padding),
        proprio=_padded(normalise_proprio(samples.proprio, statistics.proprio), padding),
        actions=_padded(actions, padding),
        landmark=_padded(samples.landmark, padding),
        task=_padded(samples.task, padding),
        token_ids=jnp.asarray(token_ids),
        prompt_length=jnp.asarray([len(one) for one in ids], jnp.int32),
        cumulative=_padded(_cumulative(weight), padding, fill=2.0),
    )


def normalise_actions(actions: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Actions on [-1, 1] between the bounds, not clipped; unmasked dimensions are left alone."""
    span = bounds.high - bounds.low + 1e-8
    return np.where(bounds.mask, 2 * (actions - bounds.low) / span - 1, actions).astype(np.float32)


def _cumulative(weight: np.ndarray) -> np.ndarray:
    """Right edges of the samples on [0, 1]; the last is above 1 so that rounding loses none."""
    edges = (np.cumsum(weight) / weight.sum()).astype(np.float32)
    edges[-1] = 1.5
    return edges


def _padded(values: np.ndarray, padding: int, fill: float = 0.0):
    widths = [(0, padding)] + [(0, 0)] * (values.ndim - 1)
    return jnp.asarray(np.pad(values, widths, constant_values=fill))
