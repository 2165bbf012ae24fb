"""The language model: a bidirectional Llama, where activations are read and steered.

Every block's parts go through `Intervention` in the same forward: risk is read at one layer and
opens the gates of later ones. Activations leave as return values, steering enters as arrays.

Of the last block's output only the action tokens are read. Where the loop over the blocks is
unrolled it therefore computes queries, output projection and MLP for these rows alone.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

import jax.numpy as jnp
from flax import nnx, struct

from mist_jax.axes import Array, Float, Int
from mist_jax.intervention.intervention import (
    NO_INTERVENTION,
    UNKNOWN,
    Intervention,
    Known,
    ReadSoFar,
)
from mist_jax.intervention.site import NOTHING, Pool, Watch, split_site
from mist_jax.intervention.tokens import ACTION_TOKENS
from mist_jax.policy.openvla_oft.network.config import OpenVLAOFTConfig
from mist_jax.policy.openvla_oft.network.decoder_block import DecoderBlock, every_row, rotary
from mist_jax.policy.openvla_oft.network.float8 import KEPT, stack_of
from mist_jax.policy.openvla_oft.network.form import Form
from mist_jax.policy.openvla_oft.network.layers import (
    Linear,
    RMSNorm,
    one_block,
    run_stacks,
)
from mist_jax.policy.openvla_oft.network.spreading import cut, whole
from mist_jax.policy.openvla_oft.readouts import LENS, STEPS, Decode, read_out
from mist_jax.policy.openvla_oft.sequence import (
    SequenceLayout,
    is_action,
    lay_actions,
    pool_role,
    read_actions,
)
from mist_jax.policy.openvla_oft.token_groups import TOKEN_GROUPS

PLACES = ("llm.resid", "llm.attn", "llm.mlp")
Values = Callable[[str], Array]
"""Activations by place, made when asked for."""


@struct.dataclass
class LanguageOutput:
    """`activations` per site: [B, L, D], or [B, L, tokens, D]."""

    hidden: Float[Array, "B CA D"]  # after the final norm, at the positions read as actions
    activations: dict[str, Array]
    read: ReadSoFar
    gate: Float[Array, "B L"] | None
    wanted: Float[Array, "B A"] | None


class LanguageModel(nnx.Module):
    """Token embedding, blocks, final norm; `lm_head` only where actions are tokens.

    In float8 the first blocks, `beginning`, are a stack of their own (see `quantise`).
    """

    def __init__(self, config: OpenVLAOFTConfig, form: Form, *, rngs: nnx.Rngs):
        init = nnx.initializers.normal(0.02)
        self.embedding = nnx.Param(init(rngs.params(), (config.vocab_size, config.width)))
        kept = KEPT if form.float8 else 0
        self.beginning = (
            DecoderBlock(config, replace(form, float8=False), blocks=kept, rngs=rngs)
            if kept
            else None
        )
        self.blocks = DecoderBlock(config, form, blocks=config.layers - kept, rngs=rngs)
        self.norm = RMSNorm(config.width, config.rms_norm_eps)
        self.lm_head = (
            Linear(config.width, config.vocab_size, rngs=rngs, bias=False)
            if config.action_head == "tokens"
            else None
        )
        self.config = config
        self.mesh = form.mesh

    @property
    def stacks(self) -> tuple[DecoderBlock, ...]:
        """Its blocks, in order."""
        return (self.blocks,) if self.beginning is None else (self.beginning, self.blocks)

    def block(self, layer: int) -> DecoderBlock:
        """One of them."""
        stack, block = ("blocks", layer) if self.beginning is None else stack_of(layer)
        return one_block(getattr(self, stack), block)

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
        """The action tokens after the final norm, and what was read on the way.

        `begun` is what the risk reader has before the first layer; it need not be given where there
        is none. `decode` makes actions of a layer's action tokens: only `llm.lens` needs it.
        """
        config = self.config
        rotation = rotary(embeddings.shape[1], config.width // config.heads, config.rope_theta)
        cosine, sine = (part.astype(embeddings.dtype) for part in rotation)
        tapped = [site for site in watch.sites if split_site(site)[0] in (*PLACES, LENS)]
        read = [site for site in intervention.reads if split_site(site)[0] in (*PLACES, LENS)]
        actions_of = partial(read_actions, layout=layout, action_tokens=config.action_tokens)
        if begun is None:
            assert not intervention.reads
            begun = intervention.begin(jnp.zeros((len(embeddings), 0)))

        def act(
            block: DecoderBlock,
            hidden: Array,
            so_far: ReadSoFar,
            parts: tuple,
            known: Known,
            only_actions: bool,
        ) -> tuple[dict[str, Array], Array, Array | None]:
            """One block and its operators: values by place, how far moved, what was wanted."""
            rows = actions_of if only_actions else every_row
            present = is_action(layout) if only_actions else None
            moved, wanted = jnp.zeros(len(hidden)), None

            def edit(place: str, x: Array) -> Array:
                nonlocal moved, wanted
                if not intervention.acts_at(place):
                    return x
                every = whole(x, self.mesh)
                laid = lay_actions(every, layout) if only_actions else every
                made = intervention.edit(
                    place, laid, parts, so_far.risk, layout.role, present, known
                )
                moved += made[1]
                if made[2] is not None:
                    wanted = made[2] if wanted is None else wanted + made[2]
                return x if made[0] is laid else cut(rows(made[0]), self.mesh, 1)

            mixed = edit("llm.attn", block.mix(hidden, cosine, sine, layout.key_length, rows))
            hidden = rows(hidden) + mixed
            fed = edit("llm.mlp", block.feed(hidden))
            hidden = edit("llm.resid", hidden + fed)
            values = {"llm.resid": hidden, "llm.attn": mixed, "llm.mlp": fed}
            return values, moved, wanted

        def look(
            layer: Array, so_far: ReadSoFar, known: Known, actions: Values, every: Values
        ) -> tuple[ReadSoFar, dict[str, Array]]:
            """What is read and tapped of a layer's action tokens, and of every token."""

            def pooled(site: str, pool: Pool) -> Array:
                if site in (LENS, STEPS):
                    return read_out(site, actions("llm.resid"), config, decode)
                place, role = split_site(site)
                if role == ACTION_TOKENS:
                    tokens = actions(place).astype(jnp.float32)
                elif role in TOKEN_GROUPS:
                    at = TOKEN_GROUPS[role].positions(layout, config)
                    tokens = jnp.take_along_axis(every(place), at[..., None], axis=1)
                    tokens = tokens.astype(jnp.float32)
                else:
                    return pool_role(every(place), layout, config, role, pool)
                return tokens if pool == "tokens" else tokens.mean(axis=1)

            for site in read:
                read_now = partial(pooled, site, "mean")
                so_far = intervention.read(site, layer, read_now, so_far, known)
            so_far = intervention.forecast(layer, so_far, known)
            return so_far, {site: pooled(site, watch.pool) for site in tapped}

        def body(
            known: Known, block: DecoderBlock, carry: tuple, scanned: tuple
        ) -> tuple[tuple, tuple]:
            (hidden, so_far), (layer, parts) = carry, scanned
            values, *acted = act(block, hidden, so_far, parts, known, only_actions=False)
            so_far, seen = look(
                layer, so_far, known, lambda place: actions_of(values[place]), values.__getitem__
            )
            return (values["llm.resid"], so_far), (seen, *acted)

        def last(
            known: Known, block: DecoderBlock, carry: tuple, scanned: tuple
        ) -> tuple[tuple, tuple]:
            (hidden, so_far), (layer, parts) = carry, scanned
            values, *acted = act(block, hidden, so_far, parts, known, only_actions=True)

            def every(place: str) -> Array:  # only where something asks for other tokens
                return act(block, hidden, begun_here, parts, known, only_actions=False)[0][place]

            begun_here = so_far
            so_far, seen = look(layer, so_far, known, values.__getitem__, every)
            return (values["llm.resid"], so_far), (seen, *acted)

        @lru_cache
        def alike(known: Known) -> Callable[..., tuple[tuple, tuple]]:
            return partial(body, known)  # blocks of which the same is known share a trace

        def own(index: int) -> Callable[..., tuple[tuple, tuple]]:
            known = intervention.known_at(index)
            return partial(last, known) if index == config.layers - 1 else alike(known)

        (hidden, final), (seen, amount, wanted) = run_stacks(
            self.stacks,
            partial(body, UNKNOWN),
            (cut(embeddings, self.mesh, 1), begun),
            (jnp.arange(config.layers), intervention.layered()),
            own,
        )
        if hidden.shape[1] == embeddings.shape[1]:
            hidden = actions_of(hidden)
        return LanguageOutput(
            hidden=self.norm(whole(hidden, self.mesh)),
            activations={site: jnp.moveaxis(value, 0, 1) for site, value in seen.items()},
            read=final,
            gate=amount.T if intervention.steers else None,
            wanted=None if wanted is None else wanted.sum(axis=0),
        )
