"""The language model: a bidirectional Llama, where activations are read and steered.

Every block's parts go through `Intervention` in the same forward: risk is read at one layer and
opens the gates of later ones. Activations leave as return values, steering enters as arrays.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx, struct

from mist_jax.axes import Array, Float, Int
from mist_jax.intervention.intervention import NO_INTERVENTION, Intervention, ReadSoFar
from mist_jax.intervention.site import NOTHING, Pool, Watch, split_site
from mist_jax.policy.openvla_oft.config import OpenVLAOFTConfig
from mist_jax.policy.openvla_oft.layers import Linear, RMSNorm, attention, scan_blocks
from mist_jax.policy.openvla_oft.readouts import LENS, STEPS, Decode, read_out
from mist_jax.policy.openvla_oft.sequence import SequenceLayout, pool_role, read_actions
from mist_jax.policy.openvla_oft.token_groups import TOKEN_GROUPS

PLACES = ("llm.resid", "llm.attn", "llm.mlp")


@struct.dataclass
class LanguageOutput:
    """`activations` per site: [B, L, D], or [B, L, tokens, D]."""

    hidden: Float[Array, "B T D"]
    activations: dict[str, Array]
    read: ReadSoFar
    gate: Float[Array, "B L"] | None
    wanted: Float[Array, "B A"] | None


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

    def embed(self, token_ids: Int[Array, "*prompt"]) -> Float[Array, "*prompt D"]:
        """Input embeddings of token ids."""
        return self.embedding[...][token_ids]

    def __call__(
        self,
        embeddings: Float[Array, "B T D"],
        layout: SequenceLayout,
        intervention: Intervention = NO_INTERVENTION,
        begun: ReadSoFar | None = None,
        watch: Watch = NOTHING,
        decode: Decode | None = None,
    ) -> LanguageOutput:
        """Hidden states after the final norm, and what was read on the way.

        `begun` is what the risk reader has before the first layer; it need not be given where there
        is none. `decode` makes actions of a layer's action tokens: only `llm.lens` needs it.
        """
        config = self.config
        rotation = rotary(embeddings.shape[1], config.width // config.heads, config.rope_theta)
        cosine, sine = (part.astype(embeddings.dtype) for part in rotation)
        tapped = [site for site in watch.sites if split_site(site)[0] in (*PLACES, LENS)]
        read = [site for site in intervention.reads if split_site(site)[0] in (*PLACES, LENS)]
        if begun is None:
            assert not intervention.reads
            begun = intervention.begin(jnp.zeros((len(embeddings), 0)))

        def body(block: DecoderBlock, carry: tuple, scanned: tuple) -> tuple[tuple, tuple]:
            hidden, so_far = carry
            layer, parts = scanned
            amounts, wanted = [], []

            def edit(place: str, x: Array) -> Array:
                x, amount, change = intervention.edit(place, x, parts, so_far.risk, layout.role)
                amounts.append(amount)
                wanted.extend([] if change is None else [change])
                return x

            mixed = edit("llm.attn", block.mix(hidden, cosine, sine, layout.key_length))
            hidden = hidden + mixed
            fed = edit("llm.mlp", block.feed(hidden))
            hidden = edit("llm.resid", hidden + fed)
            values = {"llm.resid": hidden, "llm.attn": mixed, "llm.mlp": fed}

            def pooled(site: str, pool: Pool) -> Array:
                if site in (LENS, STEPS):
                    tokens = read_actions(hidden, layout, config.action_tokens)
                    return read_out(site, tokens, config, decode)
                place, role = split_site(site)
                if role in TOKEN_GROUPS:
                    at = TOKEN_GROUPS[role].positions(layout, config)
                    tokens = jnp.take_along_axis(values[place], at[..., None], axis=1)
                    tokens = tokens.astype(jnp.float32)
                    return tokens if pool == "tokens" else tokens.mean(axis=1)
                return pool_role(values[place], layout, config, role, pool)

            for site in read:
                so_far = intervention.read(site, layer, partial(pooled, site, "mean"), so_far)
            so_far = intervention.forecast(layer, so_far)
            seen = {site: pooled(site, watch.pool) for site in tapped}
            return (hidden, so_far), (seen, sum(amounts), sum(wanted) if wanted else None)

        (hidden, final), (seen, amount, wanted) = scan_blocks(
            self.blocks,
            body,
            (embeddings, begun),
            (jnp.arange(config.layers), intervention.layered()),
        )
        return LanguageOutput(
            hidden=self.norm(hidden),
            activations={site: jnp.moveaxis(value, 0, 1) for site, value in seen.items()},
            read=final,
            gate=amount.T if intervention.steers else None,
            wanted=None if wanted is None else wanted.sum(axis=0),
        )
