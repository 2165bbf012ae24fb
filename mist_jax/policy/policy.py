"""A policy in use: LIBERO observations and instructions in, actions, activations and risk out."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mist_jax.errors import UserError
from mist_jax.intervention.reader import RiskReader
from mist_jax.intervention.risk_head import RiskHead
from mist_jax.intervention.steering import Steering
from mist_jax.policy.checkpoint import (
    PolicyCard,
)
from mist_jax.policy.forward import forward
from mist_jax.policy.openvla_oft.config import OpenVLAOFTConfig
from mist_jax.policy.openvla_oft.language import LAYER_SITES, Intervention, Pool
from mist_jax.policy.openvla_oft.model import ModelInputs
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs, Preprocessor


@dataclass(frozen=True)
class Prediction:
    """What one batch gave, on the host.

    `activations` per site: float32 [B, L, D], the mean over the action tokens, or [B, L, C*A, D]
    where every token was asked for. `risk` is the calibrated probability that a dimension drives a
    harmful contact within the horizon (zero without a risk head). `gate` is how much steering
    acted at each layer: the norm of what it added as a fraction of the residual stream's.
    """

    actions: np.ndarray  # float32 [B, C, A], un-normalised, before the gripper post-processing
    activations: Mapping[str, np.ndarray]
    risk: np.ndarray  # float32 [B, A]
    gate: np.ndarray  # float32 [B, L]


@dataclass(frozen=True)
class Policy:
    """Parameters, and what goes before and after them. Nothing in it changes."""

    card: PolicyCard
    parameters: nnx.State
    preprocessor: Preprocessor

    @property
    def config(self) -> OpenVLAOFTConfig:
        """The architecture."""
        return self.card.config

    @property
    def identity(self) -> str:
        """Name and digest of the parameters."""
        return self.card.identity

    def predict(
        self,
        observations: Sequence[Mapping[str, np.ndarray]],
        instructions: Sequence[str],
        *,
        sites: tuple[str, ...] = (),
        pool: Pool = "mean",
        steering: Steering | None = None,
        risk_head: RiskReader | None = None,
        seeds: Sequence[int] | None = None,
    ) -> Prediction:
        """One chunk of actions per observation.

        Args:
            observations: LIBERO's dictionaries, images as rendered.
            instructions: one sentence per observation.
            sites: which activations to return, of `mist_jax.SITES`.
            pool: `mean` over the action tokens, or every one of the `tokens`.
            steering: None is off, bit for bit.
            risk_head: None reports zero risk.
            seeds: of the diffusion head's noise, one per example; other heads draw nothing.

        Raises:
            UserError: lists of different length, a malformed observation, or an unknown site.
        """
        if len(observations) != len(instructions) or not observations:
            raise UserError(
                f"predict needs as many instructions as observations and at least one, "
                f"not {len(observations)} observations and {len(instructions)} instructions"
            )
        pairs = zip(observations, instructions, strict=True)
        inputs = [self.preprocessor(observation, text) for observation, text in pairs]
        return self.predict_inputs(
            inputs, sites=sites, pool=pool, steering=steering, risk_head=risk_head, seeds=seeds
        )

    def predict_inputs(
        self,
        inputs: Sequence[PolicyInputs],
        *,
        sites: tuple[str, ...] = (),
        pool: Pool = "mean",
        steering: Steering | None = None,
        risk_head: RiskReader | None = None,
        seeds: Sequence[int] | None = None,
    ) -> Prediction:
        """`predict` on inputs that a worker has preprocessed already."""
        unknown = sorted(set(sites) - set(LAYER_SITES))
        if unknown:
            raise UserError(f"unknown site {unknown[0]!r}; there are {', '.join(LAYER_SITES)}")
        outputs = forward(
            self.config,
            self.parameters,
            self.batch(inputs, seeds),
            self.intervention(len(inputs), steering, risk_head),
            sites=tuple(sorted(sites)),
            pool=pool,
        )
        host = jax.device_get(outputs)
        return Prediction(
            actions=self.preprocessor.unnormalise(host.actions),
            activations=host.activations,
            risk=host.risk,
            gate=host.gate,
        )

    def batch(
        self, inputs: Sequence[PolicyInputs], seeds: Sequence[int] | None = None
    ) -> ModelInputs:
        """Inputs of different prompt lengths as one padded batch."""
        config = self.config
        side = config.image_size
        for one in inputs:
            if one.images.shape != (config.images, side, side, 3):
                raise UserError(
                    f"{self.card.name} takes {config.images} images of {side} x {side} pixels; "
                    f"these inputs have {one.images.shape}"
                )
        lengths = [len(one.token_ids) for one in inputs]
        tokens = np.zeros((len(inputs), config.capacity_for(max(lengths))), np.int32)
        for row, one in zip(tokens, inputs, strict=True):
            row[: len(one.token_ids)] = one.token_ids
        noise = np.zeros((len(inputs), config.chunk, config.action_dim), np.float32)
        if config.action_head == "diffusion":
            for index, seed in enumerate(seeds or range(len(inputs))):
                noise[index] = np.random.default_rng(seed).standard_normal(noise.shape[1:])
        return ModelInputs(
            images=jnp.asarray(np.stack([one.images for one in inputs])),
            proprio=jnp.asarray(np.stack([one.proprio for one in inputs]), jnp.float32),
            token_ids=jnp.asarray(tokens),
            prompt_length=jnp.asarray(lengths, jnp.int32),
            noise=jnp.asarray(noise),
        )

    def intervention(
        self, batch: int, steering: Steering | None, risk_head: RiskReader | None
    ) -> Intervention:
        """Checked against this model; what is not given is off.

        Raises:
            UserError: steering or risk head of another model's shape, or for another batch.
        """
        layers, width = self.config.layers, self.config.width
        off = _off(batch, layers, width)
        steering, risk_head = steering or off.steering, risk_head or off.risk_head
        if steering.vectors.shape[1:] != (layers, width) or steering.batch != batch:
            raise UserError(
                f"steering is for {steering.batch} examples, {steering.vectors.shape[1]} layers of "
                f"width {steering.vectors.shape[2]}; this batch has {batch}, the model {layers} "
                f"layers of width {width}"
            )
        if risk_head.width != width:
            raise UserError(
                f"the risk head reads width {risk_head.width}, the model has {width}; "
                "train it on this model's activations"
            )
        return Intervention.of(risk_head, steering)


@functools.lru_cache(maxsize=4)
def _off(batch: int, layers: int, width: int) -> Intervention:
    """Made once: two dozen small arrays, each its own trip to the device."""
    steering = Steering.off(batch=batch, layers=layers, width=width)
    return Intervention.of(RiskHead.off(width=width), steering)
