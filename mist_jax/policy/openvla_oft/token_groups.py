"""Groups of tokens that a site may pool, beside the roles: rows that other modules can add."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mist_jax.axes import Array, Int
from mist_jax.extensions import Table
from mist_jax.policy.openvla_oft.network.config import OpenVLAOFTConfig
from mist_jax.policy.openvla_oft.sequence import SequenceLayout


@dataclass(frozen=True)
class TokenGroup:
    """Which tokens a site such as `llm.resid:NAME` is about; as many in every example.

    `positions` gives their places in the sequence, int [B, N], of a batch's layout.
    """

    name: str
    what: str
    positions: Callable[[SequenceLayout, OpenVLAOFTConfig], Int[Array, "B tokens"]]


TOKEN_GROUPS: Mapping[str, TokenGroup] = Table("TOKEN_GROUPS", TokenGroup, ())
