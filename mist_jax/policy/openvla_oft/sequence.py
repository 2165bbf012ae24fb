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
from mist_jax.intervention.steering import TOKEN_ROLES
from mist_jax.policy.openvla_oft.config import OpenVLAOFTConfig


@struct.dataclass
class SequenceLayout:
    """Positions of one batch; T is the padded sequence length."""

    key_length: Int[Array, "B"]  # tokens before the padding
    readout: Int[Array, "B"]  # the first position whose hidden state is read as action
    is_text: Bool[Array, "B T"]  # prompt after BOS
    is_action: Bool[Array, "B T"]  # action token
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
        is_action=(position >= first_action) & (position < stop),
        is_stop=position == stop,
        role=jnp.stack(
            [jnp.broadcast_to(roles[name], shape) for name in TOKEN_ROLES], axis=-1
        ).astype(jnp.float32),
    )


def read_actions(
    hidden: Float[Array, "B T D"], layout: SequenceLayout, action_tokens: int
) -> Float[Array, "B CA D"]:
    """The hidden states at the positions that are read as actions, step-major."""

    def one(row: Array, start: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(row, start, action_tokens)

    return jax.vmap(one)(hidden, layout.readout)


def text_at_positions(
    text: Float[Array, "B S D"], config: OpenVLAOFTConfig, capacity: int
) -> Float[Array, "B T D"]:
    """Prompt embeddings (BOS first) laid out: BOS at 0, the rest after the prefix."""
    body = text[:, 1:]
    length = config.sequence_length(capacity)
    gap = jnp.zeros((len(text), config.prefix_length - 1, text.shape[-1]), text.dtype)
    laid = jnp.concatenate([text[:, :1], gap, body], axis=1)
    return jnp.pad(laid, ((0, 0), (0, length - laid.shape[1]), (0, 0)))
