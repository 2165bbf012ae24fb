"""In which of their equivalent forms a policy's parameters are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jax.sharding import Mesh

from mist_jax.policy.openvla_oft.network.float8 import CODES

AttentionKernel = Literal["xla", "cudnn"]


@dataclass(frozen=True)
class Form:
    """What decides the parameters' names and shapes, beside the configuration; static.

    `joined`: matrices that one input is multiplied with lie side by side, one array for each layer
    (see `lay_out`). `float8`: the large products' weights are quantised, and the first blocks,
    whose are not, a stack of their own (see `quantise`).
    `attention`: by which kernel (see `layers.attention`). `mesh`: the devices over which tokens
    and images are spread (see `spreading.py`); None: they stay together.
    """

    joined: bool = False
    float8: bool = False
    attention: AttentionKernel = "cudnn"
    mesh: Mesh | None = None


STORED = Form()
"""As checkpoints of float32 or bfloat16 hold them: one array for all layers of a stack."""


def form_of(
    parameters: Mapping[str, Any],
    attention: AttentionKernel = "cudnn",
    mesh: Mesh | None = None,
) -> Form:
    """The form of parameters, nested as the modules are."""
    blocks = parameters["language"]["blocks"]
    return Form("qkv_proj" in blocks, CODES in blocks["o_proj"], attention, mesh)
