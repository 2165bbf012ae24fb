"""The language model: a bidirectional Llama, where activations are read and steered.

Every block's output goes through `Intervention` in the same forward: risk is read at one layer and
opens the gates of later ones. Activations leave as return values, steering enters as arrays.
"""

from typing import Literal, Self

import jax
import jax.numpy as jnp
from flax import nnx, struct

from mist_jax.axes import Array, Bool, Float, Int
from mist_jax.intervention.reader import RiskReader
from mist_jax.intervention.steering import Steering, any_alarm, open_gates, steer
from mist_jax.policy.openvla_oft.config import OpenVLAOFTConfig
from mist_jax.policy.openvla_oft.layers import Linear, RMSNorm, attention, scan_blocks
from mist_jax.policy.openvla_oft.sequence import SequenceLayout, read_actions

LAYER_SITES = ("llm.resid", "llm.attn", "llm.mlp")
Pool = Literal["mean", "tokens"]


@struct.dataclass
class Intervention:
    """What one forward reads and writes: the risk head and the steering."""

    risk_head: RiskReader
    steering: Steering

    @classmethod
    def of(cls, risk_head: RiskReader, steering: Steering) -> Self:
        """With every array's dtype made definite: a weakly typed one would retrace the forward."""
        return jax.tree.map(
            lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), cls(risk_head, steering)
        )


@struct.dataclass
class LanguageOutput:
    """`activations` [B, L, D] (pooled over the action tokens) or [B, L, C*A, D] per site."""

    hidden: Float[Array, "B T D"]
    activations: dict[str, Array]
    risk: Float[Array, "B A"] | None
    gate: Float[Array, "B L"] | None


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


class DecoderBlock(nnx.Module):
    """A stack of Llama blocks without causality."""

    def __init__(self, config: OpenVLAOFTConfig, *, rngs: nnx.Rngs):
        width, stack = config.width, (config.layers,)

        def linear(inputs: int, outputs: int) -> Linear:
            return Linear(inputs, outputs, rngs=rngs, stack=stack, bias=False)

        self.input_norm = RMSNorm(width, config.rms_norm_eps, stack=stack)
        self.q_proj = linear(width, width)
        self.k_proj = linear(width, width)
        self.v_proj = linear(width, width)
        self.o_proj = linear(width, width)
        self.post_norm = RMSNorm(width, config.rms_norm_eps, stack=stack)
        self.gate_proj = linear(width, config.mlp_width)
        self.up_proj = linear(width, config.mlp_width)
        self.down_proj = linear(config.mlp_width, width)
        self.heads = config.heads

    def mix(
        self, x: Float[Array, "B T D"], cosine: Array, sine: Array, key_length: Int[Array, "B"]
    ) -> Float[Array, "B T D"]:
        """What attention adds to the residual stream."""
        batch, length, width = x.shape
        normal = self.input_norm(x)

        def split(projection: Linear) -> Array:
            return projection(normal).reshape(batch, length, self.heads, width // self.heads)

        query, key = (rotate(split(p), cosine, sine) for p in (self.q_proj, self.k_proj))
        mixed = attention(query, key, split(self.v_proj), key_length)
        return self.o_proj(mixed.reshape(batch, length, width))

    def feed(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """What the gated MLP adds to the residual stream."""
        normal = self.post_norm(x)
        return self.down_proj(jax.nn.silu(self.gate_proj(normal)) * self.up_proj(normal))


@struct.dataclass
class _GateState:
    """What an intervention carries from layer to layer."""

    risk: Float[Array, "B A"]
    opened: Bool[Array, "B V"]
    shrinking: Bool[Array, "B"]


class LanguageModel(nnx.Module):
    """Token embedding, blocks, final norm; `lm_head` only where actions are tokens."""

    def __init__(self, config: OpenVLAOFTConfig, *, rngs: nnx.Rngs):
        init = nnx.initializers.normal(0.02)
        self.embedding = nnx.Param(init(rngs.params(), (config.vocab_size, config.width)))
        self.blocks = DecoderBlock(config, rngs=rngs)
        self.norm = RMSNorm(config.width, config.rms_norm_eps)
        self.lm_head = (
            Linear(config.width, config.vocab_size, rngs=rngs, bias=False)
            if config.action_head == "tokens"
            else None
        )
        self.config = config

    def embed(self, token_ids: Int[Array, "B S"]) -> Float[Array, "B S D"]:
        """Input embeddings of token ids."""
        return self.embedding[...][token_ids]

    def __call__(
        self,
        embeddings: Float[Array, "B T D"],
        layout: SequenceLayout,
        intervention: Intervention | None = None,
        *,
        sites: tuple[str, ...] = (),
        pool: Pool = "mean",
    ) -> LanguageOutput:
        config = self.config
        rotation = rotary(embeddings.shape[1], config.width // config.heads, config.rope_theta)
        cosine, sine = (part.astype(embeddings.dtype) for part in rotation)

        def action_part(x: Float[Array, "B T D"]) -> Array:
            return read_actions(x, layout, config.action_tokens).astype(jnp.float32)

        def tap(x: Float[Array, "B T D"]) -> Array:
            return action_part(x).mean(axis=1) if pool == "mean" else action_part(x)

        def body(block: DecoderBlock, carry: tuple, scanned: tuple) -> tuple[tuple, tuple]:
            hidden, gates = carry
            layer, vectors = scanned
            mixed = block.mix(hidden, cosine, sine, layout.key_length)
            hidden = hidden + mixed
            fed = block.feed(hidden)
            hidden = hidden + fed
            amount = None
            if intervention is not None:
                hidden, amount = steer(
                    hidden,
                    vectors,
                    intervention.steering,
                    gates.opened,
                    gates.shrinking,
                    layout.role,
                )
                gates = _read_risk(gates, layer, lambda: action_part(hidden).mean(1), intervention)
            values = {"llm.resid": hidden, "llm.attn": mixed, "llm.mlp": fed}
            return (hidden, gates), ({s: tap(v) for s, v in values.items() if s in sites}, amount)

        layers = jnp.arange(config.layers)
        if intervention is None:
            gates, vectors = None, None
        else:
            gates = _initial_gates(intervention, len(embeddings))
            vectors = intervention.steering.vectors.swapaxes(0, 1)
        (hidden, gates), (taps, amount) = scan_blocks(
            self.blocks, body, (embeddings, gates), (layers, vectors)
        )
        return LanguageOutput(
            hidden=self.norm(hidden),
            activations={site: jnp.moveaxis(value, 0, 1) for site, value in taps.items()},
            risk=None if gates is None else gates.risk,
            gate=None if amount is None else amount.T,
        )


def _initial_gates(intervention: Intervention, batch: int) -> _GateState:
    """Before risk is read it counts as zero: only an always-open threshold lets steering act."""
    steering = intervention.steering
    risk = jnp.zeros((batch, steering.gates.shape[1]), jnp.float32)
    return _GateState(
        risk=risk, opened=open_gates(steering, risk), shrinking=any_alarm(steering, risk)
    )


def _read_risk(
    gates: _GateState, layer: Array, activation, intervention: Intervention
) -> _GateState:
    """Evaluate the risk head at its layer, and open the gates of the layers after it."""
    head = intervention.risk_head
    risk = jax.lax.cond(
        layer == head.layer, lambda: head.probability(activation()), lambda: gates.risk
    )
    return _GateState(
        risk=risk,
        opened=open_gates(intervention.steering, risk),
        shrinking=any_alarm(intervention.steering, risk),
    )
