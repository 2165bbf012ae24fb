"""Where each token of the language model's sequence stands.

    [BOS] [images: I*P] [proprio] [time step] [prompt .. empty token] [C*A actions] [</s>] [padding]

Prompts of different length share a batch: each example's actions follow its own prompt, and what
comes after its `</s>` is padding that no token attends to, so a row equals its batch-of-one.
The hidden states that become actions are read one position early: from the empty token (29871 in
the published model) up to the last but one action token.
"""

import jax
import jax.numpy as jnp
from flax import struct

from mist_jax.axes import Array, Bool, Float, Int
from mist_jax.intervention.site import Pool
from mist_jax.intervention.tokens import ACTION_TOKENS, ALL_TOKENS, TOKEN_ROLES
from mist_jax.policy.openvla_oft.network.config import OpenVLAOFTConfig


@struct.dataclass
class SequenceLayout:
    """Positions of one batch; T is the padded sequence length."""

    key_length: Int[Array, "B"]  # tokens before the padding
    readout: Int[Array, "B"]  # the first position whose hidden state is read as action
    is_text: Bool[Array, "B T"]  # prompt after BOS
    is_stop: Bool[Array, "B T"]
    role: Float[Array, "B T R"]  # one-hot over TOKEN_ROLES, by what is read, not what is fed


def layout_of(
    config: OpenVLAOFTConfig, prompt_length: Int[Array, "B"], capacity: int
) -> SequenceLayout:
    """The layout for prompts of `prompt_length` tokens (BOS and empty token counted)."""
    position = jnp.arange(config.sequence_length(capacity))[None, :]
    prefix, actions = config.prefix_length, config.action_tokens
    first_action = (prefix + prompt_length - 1)[:, None]
    stop = first_action + actions
    readout = first_action - 1
    images_end = 1 + config.images * config.patches
    is_prompt = (position >= prefix) & (position < readout)
    roles = {
        "bos": position == 0,
        "image": (position >= 1) & (position < images_end),
        "proprio": (position >= images_end) & (position < prefix),
        "prompt": is_prompt,
        "action": (position >= readout) & (position < readout + actions),
        "stop": (position >= readout + actions) & (position <= stop),
    }
    shape = jnp.broadcast_shapes(position.shape, stop.shape)
    return SequenceLayout(
        key_length=(stop + 1)[:, 0],
        readout=readout[:, 0],
        is_text=(position >= prefix) & (position < first_action),
        is_stop=position == stop,
        role=jnp.stack(
            [jnp.broadcast_to(roles[name], shape) for name in TOKEN_ROLES], axis=-1
        ).astype(jnp.float32),
    )


def read_actions(
    hidden: Float[Array, "B T *rest"], layout: SequenceLayout, action_tokens: int
) -> Float[Array, "B CA *rest"]:
    """The values at the positions that are read as actions, step-major."""

    def one(row: Array, start: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(row, start, action_tokens)

    return jax.vmap(one)(hidden, layout.readout)


def lay_actions(actions: Float[Array, "B CA D"], layout: SequenceLayout) -> Float[Array, "B T D"]:
    """The inverse of `read_actions`, zero at all other positions."""

    def one(row: Array, part: Array, start: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(row, part, start, axis=0)

    batch, length = layout.is_text.shape
    blank = jnp.zeros((batch, length, actions.shape[-1]), actions.dtype)
    return jax.vmap(one)(blank, actions, layout.readout)


def is_action(layout: SequenceLayout) -> Bool[Array, "B T"]:
    """Where the positions are that are read as actions."""
    return layout.role[..., TOKEN_ROLES.index(ACTION_TOKENS)] > 0


def role_tokens(config: OpenVLAOFTConfig, role: str, capacity: int) -> int:
    """How many tokens of a role (or of all) one example has at most; 0: the model has none."""
    patches = config.images * config.patches
    return {
        "bos": 1,
        "image": patches,
        "proprio": config.prefix_length - 1 - patches,  # and the diffusion head's time step
        "prompt": capacity - 2,  # without BOS and the empty token, which is read as action
        ACTION_TOKENS: config.action_tokens,
        "stop": 2,
        ALL_TOKENS: config.sequence_length(capacity),
    }[role]


def pool_role(
    x: Float[Array, "B T D"],
    layout: SequenceLayout,
    config: OpenVLAOFTConfig,
    role: str,
    pool: Pool,
) -> Array:
    """A role's tokens in order, float32 [B, tokens, D] with zeros where an example has fewer, or
    their mean [B, D]; of any role but the action tokens' (see `read_actions`).
    """
    capacity = x.shape[1] - config.prefix_length - config.action_tokens
    patches_end = 1 + config.images * config.patches
    begin = {"bos": 0, "image": 1, "proprio": patches_end, "prompt": config.prefix_length}
    first = layout.readout + config.action_tokens if role == "stop" else begin.get(role, 0)
    length = {
        "prompt": layout.readout - config.prefix_length,
        ALL_TOKENS: layout.key_length,
    }.get(role, jnp.full(len(x), role_tokens(config, role, capacity)))
    index = jnp.arange(role_tokens(config, role, capacity))
    position = jnp.broadcast_to(jnp.asarray(first).reshape(-1, 1) + index, (len(x), len(index)))
    tokens = jnp.take_along_axis(x, position[..., None], axis=1).astype(jnp.float32)
    tokens = jnp.where((index < length[:, None])[..., None], tokens, 0)
    return tokens if pool == "tokens" else tokens.sum(1) / jnp.maximum(length, 1)[:, None]


def text_at_positions(
    text: Float[Array, "B prompt D"], config: OpenVLAOFTConfig, capacity: int
) -> Float[Array, "B T D"]:
    """Prompt embeddings (BOS first) laid out: BOS at 0, the rest after the prefix."""
    body = text[:, 1:]
    length = config.sequence_length(capacity)
    gap = jnp.zeros((len(text), config.prefix_length - 1, text.shape[-1]), text.dtype)
    laid = jnp.concatenate([text[:, :1], gap, body], axis=1)
    return jnp.pad(laid, ((0, 0), (0, length - laid.shape[1]), (0, 0)))
