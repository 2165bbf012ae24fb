"""OpenVLA-OFT: observation and instruction in, one chunk of normalised actions out.

A pure function of its parameters: `__call__` returns actions, activations, risk and gate.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, struct, traverse_util
from jax.sharding import Mesh

from mist_jax.axes import Array, Float, Int, UInt8
from mist_jax.intervention.intervention import NO_INTERVENTION, Intervention
from mist_jax.intervention.outputs import ModelOutputs
from mist_jax.intervention.site import NOTHING, Pool, Watch
from mist_jax.policy.openvla_oft.language import LanguageModel, LanguageOutput
from mist_jax.policy.openvla_oft.network.action_head import (
    ActionHead,
    TwoLayer,
    time_embedding,
    token_actions,
)
from mist_jax.policy.openvla_oft.network.config import OpenVLAOFTConfig
from mist_jax.policy.openvla_oft.network.diffusion import denoise
from mist_jax.policy.openvla_oft.network.form import STORED, AttentionKernel, Form, form_of
from mist_jax.policy.openvla_oft.network.vision import VisionBackbone
from mist_jax.policy.openvla_oft.sequence import (
    SequenceLayout,
    layout_of,
    text_at_positions,
)


@struct.dataclass
class ModelInputs:
    """One padded batch.

    `token_ids` holds BOS, prompt and empty token, then anything; `prompt_length` counts the real
    ones. `proprio` is normalised to [-1, 1]. `noise` starts the diffusion head; others ignore it.
    """

    images: UInt8[Array, "B I height width 3"]
    proprio: Float[Array, "B proprio"]
    token_ids: Int[Array, "B prompt"]
    prompt_length: Int[Array, "B"]
    noise: Float[Array, "B C A"]


class OpenVLAOFT(nnx.Module):
    """The policy; which heads exist follows the checkpoint's configuration."""

    def __init__(self, config: OpenVLAOFTConfig, form: Form = STORED, *, rngs: nnx.Rngs):
        self.vision = VisionBackbone(config, form, rngs=rngs)
        self.language = LanguageModel(config, form, rngs=rngs)
        self.proprio_projector = (
            TwoLayer(config.proprio_dim, config.width, rngs=rngs) if config.proprio_dim else None
        )
        self.noisy_action_projector = (
            TwoLayer(1, config.width, rngs=rngs) if config.action_head == "diffusion" else None
        )
        self.action_head = None if config.action_head == "tokens" else ActionHead(config, rngs=rngs)
        self.config = config

    def embed(
        self, inputs: ModelInputs, layout: SequenceLayout, watch: Watch = NOTHING
    ) -> tuple[Float[Array, "B T D"], dict[str, dict[Pool, Array]]]:
        """The assembled input sequence, and what `watch` keeps of the vision sites.

        Action tokens are zero, the time step is left zero.
        """
        config = self.config
        text = self.language.embed(inputs.token_ids)
        laid = text_at_positions(text, config, inputs.token_ids.shape[1])
        stop = self.language.embed(jnp.asarray(config.stop_token_id))
        position = jnp.arange(laid.shape[1])[None, :, None]
        x = jnp.where(layout.is_text[..., None] | (position == 0), laid, 0)
        x = jnp.where(layout.is_stop[..., None], stop, x)
        film = _mean_embedding(x, layout) if config.film else None
        patches, seen = self.vision(inputs.images, film, watch)
        x = jax.lax.dynamic_update_slice_in_dim(x, patches, 1, axis=1)
        if self.proprio_projector is not None:
            token = self.proprio_projector(inputs.proprio.astype(x.dtype))
            x = x.at[:, 1 + patches.shape[1]].set(token)
        return x, seen

    def __call__(
        self,
        inputs: ModelInputs,
        intervention: Intervention | None = None,
        *,
        sites: tuple[str, ...] = (),
        pool: Pool = "mean",
    ) -> ModelOutputs:
        config = self.config
        intervention = intervention or NO_INTERVENTION
        watch = Watch(sites, pool, intervention.reads)
        layout = layout_of(config, inputs.prompt_length, inputs.token_ids.shape[1])
        embeddings, seen = self.embed(inputs, layout, watch)
        known = {site: seen[site]["mean"] for site in intervention.reads if site in seen}
        begun = intervention.begin(inputs.proprio, known)

        def run(x: Float[Array, "B T D"]) -> LanguageOutput:
            return self.language(x, layout, intervention, begun, watch, self._decode)

        head_pools = watch.pools("action_head")
        if config.action_head == "diffusion":
            actions, (output, head) = denoise(
                lambda noisy, step: self._predict_noise(
                    run, embeddings, layout, noisy, step, head_pools
                ),
                inputs.noise,
                config.diffusion_steps,
            )
        else:
            output = run(embeddings)
            if self.action_head is not None:
                actions, head = self.action_head(output.hidden, head_pools)
            else:
                lm_head = self.language.lm_head
                assert lm_head is not None
                actions, head = token_actions(lm_head(output.hidden), config), {}
        seen["action_head"] = head
        late = {"action_head": head["mean"]} if "action_head" in intervention.reads else {}
        final = intervention.finish(output.read, late)
        return ModelOutputs(
            actions=actions.astype(jnp.float32),
            activations={
                **output.activations,
                **{site: seen[site][pool] for site in sites if site in seen},
            },
            risk=None if intervention.risk_head is None else final.risk,
            memory=final.memory,
            gate=output.gate,
            wanted=output.wanted,
        )

    def _decode(self, tokens: Float[Array, "B CA D"]) -> Float[Array, "B C A"]:
        """The chunk of an L1 head, had the last layer left its action tokens so."""
        assert self.action_head is not None
        return self.action_head(self.language.norm(tokens))[0]

    def _predict_noise(
        self, run, embeddings, layout, noisy, step, head_pools
    ) -> tuple[Array, tuple[LanguageOutput, dict[Pool, Array]]]:
        """One denoising pass: the noisy chunk and its time step enter as tokens."""
        assert self.noisy_action_projector is not None
        assert self.action_head is not None
        dtype, config = embeddings.dtype, self.config
        scalars = noisy.reshape(len(noisy), -1, 1).astype(dtype)
        tokens = self.noisy_action_projector(scalars)
        first = layout.readout + 1

        def place(row: Array, part: Array, start: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(row, part, start, axis=0)

        x = jax.vmap(place)(embeddings, tokens, first)
        steps = jnp.full((len(noisy),), step, jnp.float32)
        x = x.at[:, config.prefix_length - 1].set(time_embedding(steps, config.width).astype(dtype))
        output = run(x)
        noise, head = self.action_head(output.hidden, head_pools)
        return noise.astype(jnp.float32), (output, head)


def _mean_embedding(x: Float[Array, "B T D"], layout: SequenceLayout) -> Float[Array, "B D"]:
    """FiLM's condition: the mean embedding of BOS, prompt, empty token and stop."""
    position = jnp.arange(x.shape[1])[None]
    text = (layout.is_text | layout.is_stop | (position == 0))[..., None]
    return jnp.where(text, x, 0).sum(1) / text.sum(1).astype(x.dtype)


@lru_cache(maxsize=8)
def abstract_model(config: OpenVLAOFTConfig, form: Form = STORED) -> tuple[nnx.GraphDef, nnx.State]:
    """Structure and parameter shapes of a model, without allocating any."""
    return nnx.split(nnx.eval_shape(lambda: OpenVLAOFT(config, form, rngs=nnx.Rngs(0))))


def parameter_shapes(config: OpenVLAOFTConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter's shape by its path, names joined by slashes."""
    _, abstract = abstract_model(config)
    flat: Any = traverse_util.flatten_dict(nnx.to_pure_dict(abstract), sep="/")
    return {path: tuple(leaf.shape) for path, leaf in flat.items()}


def bound_model(
    config: OpenVLAOFTConfig,
    parameters: Mapping[str, Any],
    attention: AttentionKernel = "cudnn",
    mesh: Mesh | None = None,
) -> OpenVLAOFT:
    """The model with these parameters, nested dictionaries of arrays as its modules are nested."""
    graph, abstract = abstract_model(config, form_of(parameters, attention, mesh))
    state = jax.tree.map(lambda leaf: leaf, abstract)
    nnx.replace_by_pure_dict(state, dict(parameters))
    return nnx.merge(graph, state)


def initial_parameters(config: OpenVLAOFTConfig, seed: int) -> dict[str, Any]:
    """Freshly initialised float32 parameters."""
    return nnx.to_pure_dict(nnx.state(OpenVLAOFT(config, rngs=nnx.Rngs(seed))))
