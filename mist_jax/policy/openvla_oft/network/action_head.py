"""From hidden states to actions: regression (L1), denoising (diffusion) or tokens; and proprio in.

Files of the published code these follow: `prismatic/models/action_heads.py`, `projectors.py`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from mist_jax.axes import Array, Float, Int
from mist_jax.intervention.site import Pool
from mist_jax.policy.openvla_oft.network.config import OpenVLAOFTConfig
from mist_jax.policy.openvla_oft.network.layers import LayerNorm, Linear, gelu, run_blocks


class ResidualBlock(nnx.Module):
    """x + ReLU(Linear(LayerNorm(x)))."""

    def __init__(self, width: int, eps: float, *, rngs: nnx.Rngs, stack: tuple[int, ...]):
        self.norm = LayerNorm(width, eps, stack=stack)
        self.linear = Linear(width, width, rngs=rngs, stack=stack)

    def __call__(self, x: Array) -> Array:
        return x + jax.nn.relu(self.linear(self.norm(x)))


class ActionHead(nnx.Module):
    """A residual MLP over the concatenated hidden states of one chunk step's action tokens.

    Predicts normalised actions (L1) or the noise in them (diffusion); no squashing.
    """

    def __init__(self, config: OpenVLAOFTConfig, *, rngs: nnx.Rngs):
        inputs, width, eps = config.action_dim * config.width, config.width, config.layer_norm_eps
        self.norm1 = LayerNorm(inputs, eps)
        self.fc1 = Linear(inputs, width, rngs=rngs)
        stack = (config.head_blocks,)
        self.blocks = ResidualBlock(width, eps, rngs=rngs, stack=stack)
        self.norm2 = LayerNorm(width, eps)
        self.fc2 = Linear(width, config.action_dim, rngs=rngs)
        self.config = config

    def __call__(
        self, hidden: Float[Array, "B CA D"], pools: Sequence[Pool] = ()
    ) -> tuple[Float[Array, "B C A"], dict[Pool, Array]]:
        """Actions, and every block's output: float32 [B, L, C, D], or [B, L, D] its mean."""
        x = hidden.reshape(len(hidden), self.config.chunk, -1)
        x = jax.nn.relu(self.fc1(self.norm1(x)))

        def body(block: ResidualBlock, x: Array, _: None) -> tuple[Array, dict[Pool, Array]]:
            x = block(x)
            full = x.astype(jnp.float32)
            return x, {pool: full.mean(axis=1) if pool == "mean" else full for pool in pools}

        x, seen = run_blocks(self.blocks, body, x)
        seen = {pool: jnp.moveaxis(value, 0, 1) for pool, value in seen.items()}
        return self.fc2(self.norm2(x)), seen


class TwoLayer(nnx.Module):
    """Linear, GELU, Linear: the proprio projector and the noisy-action projector."""

    def __init__(self, inputs: int, width: int, *, rngs: nnx.Rngs):
        self.fc1 = Linear(inputs, width, rngs=rngs)
        self.fc2 = Linear(width, width, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.fc2(gelu(self.fc1(x)))


def token_actions(
    logits: Float[Array, "B CA vocab"], config: OpenVLAOFTConfig
) -> Float[Array, "B C A"]:
    """Normalised actions from the discrete variant's logits: centres of 256 uniform bins."""
    token: Int[Array, "B CA"] = logits.argmax(axis=-1)
    bins = config.action_bins
    index = jnp.clip(config.action_vocab_end - token - 1, 0, bins - 2)
    edges = jnp.linspace(-1.0, 1.0, bins)
    centres = (edges[:-1] + edges[1:]) / 2
    return centres[index].reshape(-1, config.chunk, config.action_dim)


def time_embedding(step: Float[Array, "B"], width: int) -> Float[Array, "B D"]:
    """Sinusoidal embedding of a diffusion time step, sine then cosine."""
    half = width // 2
    frequency = jnp.exp(-jnp.log(1e4) * jnp.arange(half) / (half - 1))
    angle = step[:, None] * frequency
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
