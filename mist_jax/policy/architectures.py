"""The architectures there are, one row each, and their named sizes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mist_jax.errors import UserError
from mist_jax.extensions import Table
from mist_jax.policy.model import PolicyModel
from mist_jax.policy.openvla_oft.network.config import PRESETS as OPENVLA_OFT_PRESETS
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel

DEFAULT_ARCHITECTURE = OpenVLAOFTModel.name  # of checkpoints that name none

ARCHITECTURES: Mapping[str, type[PolicyModel]] = Table("ARCHITECTURES", type, (OpenVLAOFTModel,))
PRESETS: Mapping[str, PolicyModel] = MappingProxyType(
    {name: OpenVLAOFTModel(config) for name, config in OPENVLA_OFT_PRESETS.items()}
)


def describe_model(model: PolicyModel) -> dict[str, Any]:
    """A model as JSON: its architecture's `name` and its size."""
    return {"name": model.name, **model.to_dict()}


def model_of(
    described: Mapping[str, Any], architectures: Mapping[str, type[PolicyModel]] = ARCHITECTURES
) -> PolicyModel:
    """The inverse of `describe_model`.

    Raises:
        UserError: an unknown architecture, or a size that it has not.
    """
    values = dict(described)
    name = values.pop("name", DEFAULT_ARCHITECTURE)
    if not isinstance(name, str) or name not in architectures:
        raise UserError(f"unknown architecture {name!r}; there are {', '.join(architectures)}")
    return architectures[name].from_dict(values)
