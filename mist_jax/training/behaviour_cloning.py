"""Behaviour cloning: L1 over whole action chunks (OpenVLA-OFT's objective), with Optax.

An auxiliary linear layer predicts where the object to move and its goal are from the same hidden
states; it shapes the vision towers of a model trained from nothing, and is thrown away afterwards.
"""

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mist_jax.axes import Array, Float, Int, UInt8
from mist_jax.policy.forward import run_model
from mist_jax.policy.openvla_oft.model import ModelInputs, initial_parameters
from mist_jax.policy.openvla_oft.network.config import OpenVLAOFTConfig
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from mist_jax.training.augmentation import augment
from mist_jax.training.samples import LANDMARKS

METRICS = ("action_l1", "translation_l1", "rotation_l1", "gripper_l1", "landmark_m")


@dataclass(frozen=True)
class CloningSpec:
    """The optimisation; hashable, because it is static in the compiled step."""

    steps: int
    batch_size: int = 512
    learning_rate: float = 6e-4
    warmup: int = 500
    weight_decay: float = 0.02
    clip: float = 1.0
    average: float = 0.999  # decay of the averaged parameters that are kept in the end
    landmark_weight: float = 1.0
    compute_dtype: str = "float32"


@struct.dataclass
class CloningData:
    """All samples on the device, padded to a capacity so that growing data seldom recompiles.

    Actions and proprio are normalised; `landmark` NaN is unknown. A sample is drawn with the
    probability by which `cumulative` rises at it; padding does not rise.
    """

    images: UInt8[Array, "samples I height width 3"]
    proprio: Float[Array, "samples proprio"]
    actions: Float[Array, "samples C A"]
    landmark: Float[Array, "samples O 3"]
    task: Int[Array, "samples"]
    token_ids: Int[Array, "instructions prompt"]  # one row per instruction
    prompt_length: Int[Array, "instructions"]
    cumulative: Float[Array, "samples"]


@struct.dataclass
class CloningState:
    """What a resumed run needs; `average` is what is saved as the policy."""

    parameters: dict[str, Any]
    average: dict[str, Any]
    landmark_kernel: Float[Array, "D features"]
    optimiser: optax.OptState
    step: Int[Array, ""]


def optimiser_of(spec: CloningSpec) -> optax.GradientTransformation:
    """AdamW under a clipped norm, linear warm-up and cosine decay."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, spec.learning_rate, spec.warmup, max(spec.steps, spec.warmup + 1), end_value=0.0
    )
    return optax.chain(
        optax.clip_by_global_norm(spec.clip),
        optax.adamw(schedule, weight_decay=spec.weight_decay, mask=_decayed),
    )


def _decayed(parameters: tuple) -> tuple:
    """Weight decay is for matrices: not for norms, biases and embeddings."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: "kernel" in jax.tree_util.keystr(path), parameters
    )


def initial_state(config: OpenVLAOFTConfig, spec: CloningSpec, seed: int) -> CloningState:
    """Fresh parameters and optimiser."""
    parameters = initial_parameters(config, seed)
    kernel = jnp.zeros((config.width, LANDMARKS * 3))
    return CloningState(
        parameters=parameters,
        average=jax.tree.map(jnp.copy, parameters),
        landmark_kernel=kernel,
        optimiser=optimiser_of(spec).init((parameters, kernel)),
        step=jnp.zeros((), jnp.int32),
    )


def cloning_loss(
    config: OpenVLAOFTConfig,
    spec: CloningSpec,
    trainable: tuple[dict[str, Any], Array],
    batch: CloningData,
    key: Array,
) -> tuple[Array, dict[str, Array]]:
    """Mean absolute error of the chunk plus the auxiliary landmark error, and both as metrics."""
    parameters, landmark_kernel = trainable
    cast = jax.tree.map(lambda leaf: leaf.astype(spec.compute_dtype), parameters)
    inputs = ModelInputs(
        images=augment(batch.images, key),
        proprio=batch.proprio,
        token_ids=batch.token_ids[batch.task],
        prompt_length=batch.prompt_length[batch.task],
        noise=jnp.zeros_like(batch.actions),
    )
    outputs = run_model(OpenVLAOFTModel(config), cast, inputs, None, sites=("llm.resid",))
    error = jnp.abs(outputs.actions - batch.actions)
    hidden = outputs.activations["llm.resid"][:, -1]
    place = (hidden @ landmark_kernel).reshape(batch.landmark.shape)
    known = jnp.isfinite(batch.landmark)
    miss = jnp.abs(place - jnp.where(known, batch.landmark, 0)) * known
    landmark = miss.sum() / jnp.maximum(known.sum(), 1)
    loss = error.mean() + spec.landmark_weight * landmark
    means = error.mean(), error[..., :3].mean(), error[..., 3:6].mean(), error[..., 6].mean()
    return loss, dict(zip(METRICS, (*means, landmark), strict=True))


@partial(jax.jit, static_argnames=("config", "spec"), donate_argnames=("state",))
def cloning_steps(
    config: OpenVLAOFTConfig,
    spec: CloningSpec,
    state: CloningState,
    data: CloningData,
    key: Array,
    steps: Int[Array, ""] | int,
) -> tuple[CloningState, dict[str, Array]]:
    """`steps` updates on random samples in one compiled call; returns the mean metrics.

    One program serves any number of steps: compiling takes half a minute on an accelerator, and
    the rounds of DAgger cut a run into pieces of many lengths. The draws depend on `key` and the
    step counter alone, so a resumed run repeats them.
    """
    optimiser = optimiser_of(spec)

    def update(_: Array, carry: tuple[CloningState, dict[str, Array]]):
        state, sums = carry
        draw, crop = jax.random.split(jax.random.fold_in(key, state.step))
        rows = jnp.searchsorted(data.cumulative, jax.random.uniform(draw, (spec.batch_size,)))
        batch = dataclasses.replace(
            data,
            images=data.images[rows],
            proprio=data.proprio[rows],
            actions=data.actions[rows],
            landmark=data.landmark[rows],
            task=data.task[rows],
        )
        trainable: Any = (state.parameters, state.landmark_kernel)
        gradient, metrics = jax.grad(
            lambda trainable: cloning_loss(config, spec, trainable, batch, crop), has_aux=True
        )(trainable)
        updates, optimiser_state = optimiser.update(gradient, state.optimiser, trainable)
        applied: Any = optax.apply_updates(trainable, updates)
        parameters, kernel = applied
        warm = jnp.minimum(spec.average, (1 + state.step) / (10 + state.step))
        average: Any = optax.incremental_update(parameters, state.average, 1 - warm)
        state = CloningState(parameters, average, kernel, optimiser_state, state.step + 1)
        return state, {name: sums[name] + metrics[name] for name in METRICS}

    carry = state, {name: jnp.zeros(()) for name in METRICS}
    state, sums = jax.lax.fori_loop(0, steps, update, carry)
    return state, {name: total / steps for name, total in sums.items()}
