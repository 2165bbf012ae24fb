"""In which of their equivalent forms a policy's parameters are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mist_jax.policy.openvla_oft.float8 import CODES


@dataclass(frozen=True)
class Form:
    """What decides the parameters' names and shapes, beside the configuration; static.

    `joined`: matrices that one input is multiplied with lie side by side, one array for each layer
    (see `lay_out`). `float8`: the large products' weights are quantised (see `quantise`).
    """

    joined: bool = False
    float8: bool = False


STORED = Form()
"""As checkpoints of float32 or bfloat16 hold them: one array for all layers of a stack."""


def form_of(parameters: Mapping[str, Any]) -> Form:
    """The form of parameters, nested as the modules are."""
    blocks = parameters["language"]["blocks"]
    return Form(joined="qkv_proj" in blocks, float8=CODES in blocks["o_proj"])
