"""The action maps that come with the library, by name; one row each."""

from collections.abc import Mapping
from types import MappingProxyType

from mist_jax.intervention.action_map.linear import LinearMap
from mist_jax.intervention.action_map.map import ActionMap
from mist_jax.intervention.action_map.noise import NoiseMap
from mist_jax.intervention.action_map.table import TableMap

ACTION_MAPS: Mapping[str, type[ActionMap]] = MappingProxyType(
    {
        "table": TableMap,
        "linear": LinearMap,
        "noise": NoiseMap,
    }
)
