"""What a layer's action tokens say step by step of the chunk: sites that can be read alone."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from mist_jax.axes import Array, Float
from mist_jax.intervention.site import ModelSite
from mist_jax.policy.openvla_oft.network.config import OpenVLAOFTConfig

STEPS, LENS = "llm.resid:steps", "llm.lens"
Decode = Callable[[Float[Array, "B CA D"]], Float[Array, "B C A"]]
"""Final norm and action head: normalised actions from the action tokens of a layer."""


def readout_sites(config: OpenVLAOFTConfig) -> Mapping[str, ModelSite]:
    """`llm.resid:steps` [C*D], and `llm.lens` [C*A] where an L1 head decodes actions at once."""

    def site(width: int) -> ModelSite:
        return ModelSite(config.layers, config.chunk * width, "within", pools=("mean",))

    lens = {LENS: site(config.action_dim)} if config.action_head == "l1" else {}
    return MappingProxyType({STEPS: site(config.width), **lens})


def read_out(
    site: str, tokens: Float[Array, "B CA D"], config: OpenVLAOFTConfig, decode: Decode | None
) -> Float[Array, "B features"]:
    """One of the two sites at one layer, float32, step-major.

    `tokens` are the layer's action tokens. Steps are the mean over the tokens of each step; the
    lens is the chunk that the policy would give if this layer were its last (nostalgebraist's
    logit lens, 2020, for an action head).
    """
    if site == LENS:
        assert decode is not None
        read = decode(tokens)
    else:
        split = tokens.reshape(len(tokens), config.chunk, config.action_dim, -1)
        read = split.astype("float32").mean(axis=2)
    return read.astype("float32").reshape(len(tokens), -1)
