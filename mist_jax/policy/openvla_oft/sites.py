"""Where this architecture's activations can be read and changed."""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from mist_jax.intervention.site import ModelSite
from mist_jax.intervention.tokens import ACTION_TOKENS, ALL_TOKENS, TOKEN_ROLES
from mist_jax.policy.openvla_oft.language import PLACES
from mist_jax.policy.openvla_oft.network.config import MIST_NANO, OpenVLAOFTConfig
from mist_jax.policy.openvla_oft.readouts import readout_sites
from mist_jax.policy.openvla_oft.sequence import role_tokens
from mist_jax.policy.openvla_oft.token_groups import TOKEN_GROUPS


def token_roles(config: OpenVLAOFTConfig) -> tuple[str, ...]:
    """The roles that tokens of this model have."""
    return tuple(r for r in TOKEN_ROLES if role_tokens(config, r, config.prompt_capacity) > 0)


def sites_of(config: OpenVLAOFTConfig) -> Mapping[str, ModelSite]:
    """Every site by name.

    `llm.resid` is a block's output, `llm.attn` and `llm.mlp` are what its parts add to it, over the
    action tokens; `llm.resid:image` and so on over the tokens of another role, `:all` over every
    one before the padding. `vision.dino` and `vision.siglip` are their blocks' outputs over the
    patches of all images, `vision.projector` what the language model gets of them. `action_head`
    is its residual blocks' outputs over the steps of the chunk. Groups of `TOKEN_GROUPS` are roles
    that can be read and not steered, as are the sites of `readout_sites`.
    """
    return _sites(config, tuple(TOKEN_GROUPS))


@lru_cache(maxsize=8)
def _sites(config: OpenVLAOFTConfig, groups: tuple[str, ...]) -> Mapping[str, ModelSite]:
    roles = [role for role in token_roles(config) if role != ACTION_TOKENS]
    within = ModelSite(config.layers, config.width, "within", steerable=True)
    found: dict[str, ModelSite] = dict.fromkeys(map(str, PLACES), within)
    for place in PLACES:
        found |= dict.fromkeys([f"{place}:{role}" for role in (*roles, ALL_TOKENS)], within)
    reading = ModelSite(config.layers, config.width, "within")
    found |= {f"{place}:{group}": reading for place in PLACES for group in groups}
    found |= readout_sites(config)
    found["vision.dino"] = ModelSite(config.dino.blocks, config.dino.width, "before")
    found["vision.siglip"] = ModelSite(config.siglip.blocks, config.siglip.width, "before")
    found["vision.projector"] = ModelSite(1, config.width, "before")
    if config.action_head != "tokens":
        found["action_head"] = ModelSite(config.head_blocks, config.width, "after")
    return MappingProxyType(found)


SITES: tuple[str, ...]  # names of mist-nano's


def __getattr__(name: str) -> tuple[str, ...]:
    # When asked for: modules of others add groups, and may import what this module is a part of.
    if name != "SITES":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return tuple(sites_of(MIST_NANO))
