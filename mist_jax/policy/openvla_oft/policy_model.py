"""OpenVLA-OFT behind the library's seam: a `PolicyModel` (see `mist_jax.policy.model`)."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mist_jax.axes import Array, Float
from mist_jax.errors import UserError
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.outputs import ModelOutputs
from mist_jax.intervention.site import ModelSite, Pool
from mist_jax.policy.openvla_oft.arithmetic import forward_flops
from mist_jax.policy.openvla_oft.attention_weights import language_weights
from mist_jax.policy.openvla_oft.model import ModelInputs, abstract_model, bound_model
from mist_jax.policy.openvla_oft.network.config import OpenVLAOFTConfig
from mist_jax.policy.openvla_oft.network.float8 import quantise
from mist_jax.policy.openvla_oft.network.form import AttentionKernel
from mist_jax.policy.openvla_oft.network.laid_out import lay_out, matrix_of
from mist_jax.policy.openvla_oft.network.sharding import parameter_sharding
from mist_jax.policy.openvla_oft.sequence import layout_of
from mist_jax.policy.openvla_oft.sites import sites_of, token_roles
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs
from mist_jax.policy.preprocessing.spec import PreprocessingSpec

BLOCKS = "llm.resid:all"


@dataclass(frozen=True)
class OpenVLAOFTModel:
    """One size of it; two with equal fields are the same static argument.

    `attention` and `mesh` are how it is run, and not part of what it is: see `Form`.
    """

    config: OpenVLAOFTConfig
    attention: AttentionKernel = "cudnn"
    mesh: Mesh | None = None
    name = "openvla-oft"  # no annotation: the same for every size, no field

    @property
    def action_dim(self) -> int:
        """Dimensions of an action."""
        return self.config.action_dim

    @property
    def chunk(self) -> int:
        """Actions per query."""
        return self.config.chunk

    @property
    def sites(self) -> Mapping[str, ModelSite]:
        """See `sites_of`."""
        return sites_of(self.config)

    @property
    def token_roles(self) -> tuple[str, ...]:
        """Roles that tokens of this model have."""
        return token_roles(self.config)

    @property
    def differentiable(self) -> bool:
        """With an L1 head."""
        return self.config.action_head == "l1"

    def abstract_parameters(self) -> dict[str, Any]:
        """Shapes of the parameters, float32."""
        return nnx.to_pure_dict(abstract_model(self.config)[1])

    def lay_out(self, parameters: dict[str, Any], *, donate: bool = False) -> dict[str, Any]:
        """Each layer's matrices as arrays of their own: see `laid_out.py`."""
        return lay_out(parameters, donate=donate)

    def quantise(self, parameters: dict[str, Any], *, donate: bool = False) -> dict[str, Any]:
        """The large products' weights in float8: see `float8.py`."""
        return quantise(parameters, donate=donate)

    def spread_over(self, mesh: Mesh) -> Self:
        """Tokens and images spread: see `spreading.py`."""
        return dataclasses.replace(self, mesh=mesh)

    def apply(
        self,
        parameters: dict[str, Any],
        inputs: ModelInputs,
        intervention: Intervention | None,
        *,
        sites: tuple[str, ...] = (),
        pool: Pool = "mean",
    ) -> ModelOutputs:
        """The whole policy as a pure function."""
        model = bound_model(self.config, parameters, self.attention, self.mesh)
        return model(inputs, intervention, sites=sites, pool=pool)

    def collate(
        self, inputs: Sequence[PolicyInputs], seeds: Sequence[int] | None = None
    ) -> ModelInputs:
        """Inputs of different prompt lengths as one padded batch; `seeds` are of the noise.

        Raises:
            UserError: images of another number or size, or as many seeds as there are no inputs.
        """
        config = self.config
        side = config.image_size
        for one in inputs:
            if one.images.shape != (config.images, side, side, 3):
                raise UserError(
                    f"the policy takes {config.images} images of {side} x {side} pixels; "
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

    def example_inputs(self, batch: int) -> ModelInputs:
        """Random inputs on the host, prompts of the configuration's capacity."""
        config, rng = self.config, np.random.default_rng(0)
        side, capacity = config.image_size, config.prompt_capacity
        shape = (batch, config.chunk, config.action_dim)
        inputs = ModelInputs(
            images=jnp.asarray(
                rng.integers(0, 256, (batch, config.images, side, side, 3), np.uint8)
            ),
            proprio=jnp.asarray(rng.uniform(-1, 1, (batch, config.proprio_dim)), jnp.float32),
            token_ids=jnp.asarray(rng.integers(0, config.vocab_size, (batch, capacity)), jnp.int32),
            prompt_length=jnp.full(batch, capacity, jnp.int32),
            noise=jnp.asarray(rng.standard_normal(shape), jnp.float32),
        )
        return jax.device_get(inputs)

    @property
    def preprocessing(self) -> PreprocessingSpec:
        """What the checkpoint does before and after its network."""
        return self.config.preprocessing

    def parameter_sharding(self, mesh: Mesh, path: str, shape: tuple[int, ...]) -> NamedSharding:
        """Tensor parallel, each pair of matrices cut once; whole where a query's tokens are cut."""
        if self.mesh is not None:
            return NamedSharding(mesh, PartitionSpec())
        return parameter_sharding(mesh, path, shape)

    def flops(self, batch: int) -> float:
        """Floating-point operations of one forward's matrix products."""
        return forward_flops(self.config, batch)

    def to_dict(self) -> dict[str, Any]:
        """The configuration, JSON-ready."""
        return self.config.to_dict()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; an unknown or missing field is an error."""
        return cls(OpenVLAOFTConfig.from_dict(values))

    def value_vectors(
        self, parameters: dict[str, Any], layers: tuple[int, ...]
    ) -> Float[Array, "L F D"]:
        """The rows of `down_proj` of these layers, float32."""
        return jnp.stack([matrix_of(parameters, "down_proj", layer) for layer in layers])

    def decode(self, parameters: dict[str, Any], hidden: Float[Array, "D"]) -> Float[Array, "C A"]:
        """Final norm and L1 head where every action token holds `hidden`."""
        config = self.config
        if config.action_head != "l1":
            raise UserError(f"only an L1 action head can be read out, not {config.action_head!r}")
        model = bound_model(config, parameters)
        tokens = jnp.broadcast_to(hidden, (1, config.action_tokens, config.width))
        assert model.action_head is not None
        actions, _ = model.action_head(model.language.norm(tokens))
        return actions[0].astype(jnp.float32)

    def attention_weights(
        self,
        parameters: dict[str, Any],
        inputs: ModelInputs,
        intervention: Intervention | None,
        layers: tuple[int, ...],
    ) -> tuple[Float[Array, "B layers H T S"], Float[Array, "B T R"]]:
        """Of the language model, from a forward's block outputs."""
        if self.config.action_head == "diffusion":
            raise UserError("a diffusion head asks for many passes, each with its own attention")
        outputs = self.apply(parameters, inputs, intervention, sites=(BLOCKS,), pool="tokens")
        model = bound_model(self.config, parameters)
        layout = layout_of(self.config, inputs.prompt_length, inputs.token_ids.shape[1])
        embeddings, _ = model.embed(inputs, layout)
        blocks = outputs.activations[BLOCKS]
        return language_weights(model.language, embeddings, blocks, layout, layers), layout.role
