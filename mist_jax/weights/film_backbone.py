"""The FiLM checkpoint's vision backbone: its LoRA adapters merged, under the published names.

`vision_backbone--N_checkpoint.pt` is the backbone as trained: each block wrapped by FiLM, each
linear layer by LoRA (peft's names), with rank from the adapters' shapes and alpha = min(rank, 16)
as the reference builds it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mist_jax.errors import UserError
from mist_jax.weights.torch_pickle import TorchTensor, read_torch_file

LORA_ALPHA_LIMIT = 16
_ADAPTER = re.compile(r"(?P<layer>.+)\.(?P<part>lora_[AB])\.default\.weight")


@dataclass(frozen=True)
class MergedTensor:
    """base + alpha / rank * B A, computed in float32 when read."""

    base: TorchTensor
    down: TorchTensor  # A [rank, inputs]
    up: TorchTensor  # B [outputs, rank]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the merged weight."""
        return self.base.shape

    def read(self) -> np.ndarray:
        """The merged weight, float32."""
        rank = self.down.shape[0]
        scale = min(rank, LORA_ALPHA_LIMIT) / rank
        up, down = (part.read().astype(np.float32) for part in (self.up, self.down))
        return self.base.read().astype(np.float32) + np.float32(scale) * (up @ down)


def read_film_backbone(path: Path) -> dict[str, TorchTensor | MergedTensor]:
    """Every tensor by its published name: FiLM's and LoRA's wrappers removed.

    Raises:
        UserError: the file cannot be read, or an adapter has no partner or does not fit its layer.
    """
    plain: dict[str, TorchTensor] = {}
    adapters: dict[str, dict[str, TorchTensor]] = {}
    for name, tensor in read_torch_file(path).items():
        if found := _ADAPTER.fullmatch(name):
            adapters.setdefault(_published(found["layer"]), {})[found["part"]] = tensor
        else:
            plain[_published(name)] = tensor
    merged: dict[str, TorchTensor | MergedTensor] = dict(plain)
    for layer, parts in adapters.items():
        merged[f"{layer}.weight"] = _merge(path, layer, plain.get(f"{layer}.weight"), parts)
    return merged


def _published(name: str) -> str:
    name = re.sub(r"(\.blocks\.\d+)\.block\.", r"\1.", name.replace(".base_layer", ""))
    return name if name.startswith("vision_backbone.") else f"vision_backbone.{name}"


def _merge(
    path: Path, layer: str, base: TorchTensor | None, parts: Mapping[str, TorchTensor]
) -> MergedTensor:
    down, up = parts.get("lora_A"), parts.get("lora_B")
    if base is None or down is None or up is None:
        absent = "base_layer" if base is None else "lora_A" if down is None else "lora_B"
        raise UserError(f"{path}: the adapter of {layer} has no {absent}")
    if base.shape != (up.shape[0], down.shape[1]) or up.shape[1] != down.shape[0]:
        raise UserError(
            f"{path}: the adapter of {layer} has shapes {up.shape} and {down.shape}, "
            f"which do not make its weight's {base.shape}"
        )
    return MergedTensor(base, down, up)
