"""Writes 7B random weights in the published layout, to convert and time at full size.

    python -m tests.measuring.random_7b FOLDER

15 GB, some two minutes. Keys and shapes come from the key table, which test_convert_weights
compares with the published index.
"""

import json
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import torch
from safetensors.numpy import save_file

from mist_jax.weights.key_table import Contents, Rule, evaluate, rules_for
from tests.helpers.published_checkpoint import config_of, processor_of, statistics_of, tokenizer
from tests.helpers.torch_reference import Sizes

SIZES = {
    "dino_depth": 24,
    "dino_width": 1024,
    "dino_hidden": 4096,
    "dino_patch": 14,
    "dino_registers": 4,
    "patches": 256,
    "siglip_depth": 27,
    "siglip_width": 1152,
    "siglip_hidden": 4304,
    "siglip_patch": 14,
    "siglip_pool_hidden": 4304,
    "siglip_pool_latents": 1,
    "projector_width": 8704,
    "layers": 32,
    "width": 4096,
    "hidden": 11008,
    "vocabulary": 32064,
    "head_blocks": 2,
    "action_dim": 7,
    "proprio_dim": 8,
}
SHARD_BYTES = 4 << 30


def write_random_7b(folder: Path, seed: int = 0) -> Path:
    """A folder in the published form with an L1 head and proprio, every weight random."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(1 << 25, dtype=np.float32)

    def values(key: str, shape: tuple[int, ...]) -> np.ndarray:
        drawn = np.resize(noise[rng.integers(0, 1 << 20) :], shape)
        if key.endswith("weight") and ("norm" in key or ".ffn.0." in key):
            return 1 + 0.1 * drawn
        if "scale_factor" in key:
            return 0.3 + 0.1 * drawn
        if len(shape) == 1 or "token" in key or "pos_embed" in key:
            return 0.02 * drawn
        return drawn * float(np.prod(shape[1:])) ** -0.5

    rules = rules_for(Contents(head="l1", proprio=True, film=False))
    shard: dict[str, np.ndarray] = {}
    names: list[str] = []
    weight_map: dict[str, str] = {}
    main = [named for rule in rules if rule.source == "model" for named in _keys(rule)]
    for index, (key, shape) in enumerate(main):
        shard[key] = values(key, shape).astype(ml_dtypes.bfloat16)
        if index + 1 == len(main) or sum(v.nbytes for v in shard.values()) > SHARD_BYTES:
            names.append(f"model-{len(names) + 1:05}.safetensors")
            save_file(shard, folder / names[-1])
            weight_map |= dict.fromkeys(shard, names[-1])
            shard = {}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    for source, kind in (("action_head", torch.bfloat16), ("proprio_projector", torch.float32)):
        keys = [named for rule in rules if rule.source == source for named in _keys(rule)]
        tensors = {f"module.{k}": torch.from_numpy(values(k, s)).to(kind) for k, s in keys}
        torch.save(tensors, folder / f"{source}--150000_checkpoint.pt")
    sizes = Sizes(image=224, heads=32)
    for name, describe in (
        ("config.json", config_of),
        ("preprocessor_config.json", processor_of),
        ("dataset_statistics.json", statistics_of),
    ):
        (folder / name).write_text(json.dumps(describe(sizes)))
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def _keys(rule: Rule) -> list[tuple[str, tuple[int, ...]]]:
    shape = evaluate(rule.shape, SIZES)
    assert shape is not None
    blocks = range(SIZES[rule.stack]) if rule.stack else range(1)
    return [(rule.key.replace("{n}", str(block)), shape) for block in blocks]


if __name__ == "__main__":
    write_random_7b(Path(sys.argv[1]))
