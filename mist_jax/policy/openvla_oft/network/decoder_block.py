"""One block of the language model: a Llama block without causality."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from mist_jax.axes import Array, Float, Int
from mist_jax.policy.openvla_oft.network.config import OpenVLAOFTConfig
from mist_jax.policy.openvla_oft.network.form import AttentionKernel, Form
from mist_jax.policy.openvla_oft.network.layers import Linear, RMSNorm, attention
from mist_jax.policy.openvla_oft.network.spreading import WHOLE, each_its_own


def rotary(length: int, head_width: int, theta: float) -> tuple[Array, Array]:
    """Cosine and sine [T, K] of Llama's rotate-half position embedding, float32."""
    frequency = theta ** -(jnp.arange(0, head_width, 2, dtype=jnp.float32) / head_width)
    angle = jnp.einsum("t,f->tf", jnp.arange(length, dtype=jnp.float32), frequency)
    angle = jnp.concatenate([angle, angle], axis=-1)
    return jnp.cos(angle), jnp.sin(angle)


def rotate(
    x: Float[Array, "B T H K"], cosine: Float[Array, "T K"], sine: Float[Array, "T K"]
) -> Float[Array, "B T H K"]:
    """Apply the rotary embedding; `cosine` and `sine` are in the model's dtype already."""
    first, second = jnp.split(x, 2, axis=-1)
    half = jnp.concatenate([-second, first], axis=-1)
    return x * cosine[:, None] + half * sine[:, None]


Rows = Callable[[Array], Array]
"""From one value for every token [B, T, ...] to one for each that is wanted."""


def every_row(x: Array) -> Array:
    """All of them."""
    return x


class DecoderBlock(nnx.Module):
    """A stack of Llama blocks without causality.

    `joined`: the matrices that one input is multiplied with lie side by side (see `lay_out`).
    """

    def __init__(self, config: OpenVLAOFTConfig, form: Form, *, blocks: int, rngs: nnx.Rngs):
        width, stack = config.width, (blocks,)

        def linear(inputs: int, *outputs: int) -> Linear:
            return Linear(inputs, *outputs, rngs=rngs, stack=stack, bias=False, float8=form.float8)

        self.input_norm = RMSNorm(width, config.rms_norm_eps, stack=stack)
        if form.joined:
            self.qkv_proj = linear(width, 3, width)
        else:
            self.q_proj = linear(width, width)
            self.k_proj = linear(width, width)
            self.v_proj = linear(width, width)
        self.o_proj = linear(width, width)
        self.post_norm = RMSNorm(width, config.rms_norm_eps, stack=stack)
        if form.joined:
            self.gate_up_proj = linear(width, 2, config.mlp_width)
        else:
            self.gate_proj = linear(width, config.mlp_width)
            self.up_proj = linear(width, config.mlp_width)
        self.down_proj = linear(config.mlp_width, width)
        self.heads = config.heads
        self.joined = form.joined
        self.kernel: AttentionKernel = form.attention
        self.mesh = form.mesh

    def mix(
        self,
        x: Float[Array, "B T D"],
        cosine: Array,
        sine: Array,
        key_length: Int[Array, "B"],
        rows: Rows = every_row,
    ) -> Float[Array, "B rows D"]:
        """What attention adds to the residual stream, at `rows`."""
        query, key, value = self.project(x, cosine, sine)
        attend = partial(attention, kernel=self.kernel)
        axes = (1, WHOLE, WHOLE, WHOLE)
        mixed = each_its_own(attend, self.mesh, axes, rows(query), key, value, key_length)
        return self.o_proj(mixed.reshape(*mixed.shape[:2], -1))

    def project(self, x: Float[Array, "B T D"], cosine: Array, sine: Array) -> tuple[Array, ...]:
        """Query, key and value [B, T, H, K] of attention over `x`."""
        normal = self.input_norm(x)
        if self.joined:
            projected = jnp.unstack(self.qkv_proj(normal), axis=-2)
        else:
            projected = [part(normal) for part in (self.q_proj, self.k_proj, self.v_proj)]
        query, key, value = (y.reshape(*y.shape[:2], self.heads, -1) for y in projected)
        return rotate(query, cosine, sine), rotate(key, cosine, sine), value

    def feed(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """What the gated MLP adds to the residual stream."""
        normal = self.post_norm(x)
        if self.joined:
            gate, up = jnp.unstack(self.gate_up_proj(normal), axis=-2)
        else:
            gate, up = self.gate_proj(normal), self.up_proj(normal)
        return self.down_proj(jax.nn.silu(gate) * up)
