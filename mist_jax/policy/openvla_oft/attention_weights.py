"""What each block's attention looks at: made from the block's input, outside the forward.

Attention kernels do not give their weights. Block l's input is the output of block l - 1, which is
a site; the weights follow from it by the block's own projections, so that the forward pays nothing.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from mist_jax.axes import Array, Float, Int
from mist_jax.policy.openvla_oft.language import LanguageModel
from mist_jax.policy.openvla_oft.network.decoder_block import DecoderBlock, rotary
from mist_jax.policy.openvla_oft.sequence import SequenceLayout


def block_weights(
    block: DecoderBlock,
    x: Float[Array, "B T D"],
    cosine: Float[Array, "T K"],
    sine: Float[Array, "T K"],
    key_length: Int[Array, "B"],
) -> Float[Array, "B H T S"]:
    """Softmax attention of one block whose input is `x`, float32; rows sum to one over the keys.

    Rows of padding are zero, as is what a row gives to padding.
    """
    query, key, _ = block.project(x, cosine, sine)
    logits = jnp.einsum("bthk,bshk->bhts", query, key, preferred_element_type=jnp.float32)
    there = jnp.arange(x.shape[1])[None] < key_length[:, None]
    logits = jnp.where(there[:, None, None, :], logits * cosine.shape[-1] ** -0.5, -jnp.inf)
    return jnp.where(there[:, None, :, None], jax.nn.softmax(logits, axis=-1), 0.0)


def language_weights(
    language: LanguageModel,
    embeddings: Float[Array, "B T D"],
    outputs: Float[Array, "B L T D"],
    layout: SequenceLayout,
    layers: Sequence[int],
) -> Float[Array, "B layers H T S"]:
    """Of the named layers, whose inputs are `embeddings`, then the block outputs before them."""
    config = language.config
    rotation = rotary(embeddings.shape[1], config.width // config.heads, config.rope_theta)
    cosine, sine = (part.astype(embeddings.dtype) for part in rotation)

    def one(layer: int) -> Array:
        x = embeddings if layer == 0 else outputs[:, layer - 1].astype(embeddings.dtype)
        return block_weights(language.block(layer), x, cosine, sine, layout.key_length)

    return jnp.stack([one(layer) for layer in layers], axis=1)
