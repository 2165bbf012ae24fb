"""Writes a PyTorch reference as a folder in the published form."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from torch import nn

from tests.helpers.torch_reference import EMPTY_TOKEN, Sizes, TorchReference

LORA_RANK = 32
HEADS = ("action_head", "proprio_projector", "noisy_action_projector")
WORDS = "In : What action should the robot take to open close drawer pick up black bowl ? Out"


def write_checkpoint(
    folder: Path,
    reference: TorchReference,
    *,
    dtype: torch.dtype = torch.float32,
    shards: int = 3,
    step: int = 150000,
    config: dict[str, Any] | None = None,
) -> Path:
    """The whole folder; `config` overrides fields of its `config.json`."""
    folder.mkdir(parents=True)
    _write_shards(folder, main_tensors(reference), shards, dtype)
    for name in HEADS:
        if (module := getattr(reference, name, None)) is not None:
            kind = torch.float32 if name == "proprio_projector" else dtype
            wrapped = {f"module.{key}": v.to(kind) for key, v in module.state_dict().items()}
            torch.save(wrapped, folder / f"{name}--{step}_checkpoint.pt")
    if reference.film is not None:
        torch.save(_film_tensors(reference), folder / f"vision_backbone--{step}_checkpoint.pt")
    described = {**config_of(reference.sizes), **(config or {})}
    (folder / "config.json").write_text(json.dumps(described))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor_of(reference.sizes)))
    (folder / "dataset_statistics.json").write_text(json.dumps(statistics_of(reference.sizes)))
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def main_tensors(reference: TorchReference) -> dict[str, torch.Tensor]:
    """What the shards hold, under the published names."""
    published = ("vision_backbone.", "projector.", "language_model.")
    return {
        name.replace(".gamma", ".scale_factor"): tensor
        for name, tensor in reference.state_dict().items()
        if name.startswith(published)
    }


def _write_shards(
    folder: Path, tensors: dict[str, torch.Tensor], shards: int, dtype: torch.dtype
) -> None:
    names = sorted(tensors)
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = names[shard * len(names) // shards : (shard + 1) * len(names) // shards]
        save_file({n: tensors[n].to(dtype).contiguous() for n in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _film_tensors(reference: TorchReference) -> dict[str, torch.Tensor]:
    """The backbone as peft and FiLM wrap it, equal to the reference's once merged."""
    assert reference.film is not None
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for name, module in reference.vision_backbone.named_modules():
        for part, value in module.named_parameters(recurse=False):
            key = f"{name}.{part}".replace("gamma", "scale_factor")
            if isinstance(module, nn.Linear):
                key = f"{name}.base_layer.{part}"
                if part == "weight":
                    down = torch.randn(LORA_RANK, module.in_features, generator=generator) * 0.1
                    up = torch.randn(module.out_features, LORA_RANK, generator=generator) * 0.1
                    tensors[f"{name}.lora_A.default.weight"] = down
                    tensors[f"{name}.lora_B.default.weight"] = up
                    value = value - 16 / LORA_RANK * up @ down
            tensors[key] = value.detach()
    wrapped = {}
    for key, value in tensors.items():
        tower, _, rest = key.partition(".blocks.")
        index, _, inner = rest.partition(".")
        wrapped[f"{tower}.blocks.{index}.block.{inner}" if rest else key] = value
    for tower, films in reference.film.items():
        for index, film in enumerate(films):
            for part, value in film.state_dict().items():
                wrapped[f"{tower}.blocks.{index}.{part}"] = value
    return {f"vision_backbone.{key}": value.clone() for key, value in wrapped.items()}


def config_of(sizes: Sizes) -> dict[str, Any]:
    """`config.json` as the published ones are, with this model's sizes where they appear."""
    return {
        "arch_specifier": "no-align+fused-gelu-mlp",
        "architectures": ["OpenVLAForActionPrediction"],
        "auto_map": {"AutoConfig": "configuration_prismatic.OpenVLAConfig"},
        "hf_llm_id": "meta-llama/Llama-2-7b-hf",
        "image_resize_strategy": "resize-naive",
        "image_sizes": [sizes.image, sizes.image],
        "llm_backbone_id": "llama2-7b-pure",
        "llm_max_length": 2048,
        "model_type": "openvla",
        "n_action_bins": 256,
        "norm_stats": {"another": {"action": {"q01": [9.0] * 7, "q99": [9.5] * 7}}},
        "output_projector_states": False,
        "pad_to_multiple_of": 64,
        "pad_token_id": 32000,
        "text_config": {
            "model_type": "llama",
            "pad_token_id": 32000,
            "torch_dtype": "bfloat16",
            "vocab_size": sizes.vocabulary,
            "num_attention_heads": sizes.heads,
        },
        "timm_model_ids": [
            "vit_large_patch14_reg4_dinov2.lvd142m",
            "vit_so400m_patch14_siglip_224",
        ],
        "timm_override_act_layers": [None, None],
        "torch_dtype": "bfloat16",
        "transformers_version": "4.40.1",
        "use_fused_vision_backbone": True,
        "vision_backbone_id": "dinosiglip-vit-so-224px",
        **({} if (sizes.action, sizes.images) == (7, 2) else {"num_images_in_input": sizes.images}),
        **({} if (sizes.action, sizes.chunk) == (7, 8) else {"num_actions_chunk": sizes.chunk}),
    }


DINO_PIXELS = {
    "mean": [0.484375, 0.455078125, 0.40625],
    "std": [0.228515625, 0.2236328125, 0.224609375],
}
SIGLIP_PIXELS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


def processor_of(sizes: Sizes) -> dict[str, Any]:
    """`preprocessor_config.json`, with the ImageNet constants that are there and not applied."""
    side = [sizes.image, sizes.image]
    return {
        "image_processor_type": "PrismaticImageProcessor",
        "image_resize_strategy": "resize-naive",
        "means": [[0.485, 0.456, 0.406], [0.5, 0.5, 0.5]],
        "stds": [[0.229, 0.224, 0.225], [0.5, 0.5, 0.5]],
        "tvf_crop_params": [{"output_size": side}] * 2,
        "tvf_do_letterbox": False,
        "tvf_normalize_params": [
            {"inplace": False, **DINO_PIXELS},
            {"inplace": False, **SIGLIP_PIXELS},
        ],
        "tvf_resize_params": [{"antialias": True, "interpolation": 3, "size": side}] * 2,
        "use_fused_vision_backbone": True,
    }


def statistics_of(sizes: Sizes) -> dict[str, Any]:
    """`dataset_statistics.json` of one suite."""
    action, proprio = sizes.action, sizes.proprio or 8
    return {
        "libero_spatial_no_noops": {
            "action": {
                "q01": [-0.6 * (1 + i / 20) for i in range(action)],
                "q99": [0.8 * (1 + i / 20) for i in range(action)],
                "min": [-0.9 * (1 + i / 20) for i in range(action)],
                "max": [1.1 * (1 + i / 20) for i in range(action)],
                "mask": [True] * (action - 1) + [False],
            },
            "proprio": {
                "q01": [-1.5 - i / 10 for i in range(proprio)],
                "q99": [2.0 + i / 10 for i in range(proprio)],
                "min": [-3.0] * proprio,
                "max": [4.0] * proprio,
            },
            "num_transitions": 1,
            "num_trajectories": 1,
        }
    }


def tokenizer() -> Tokenizer:
    """Whole words at scattered ids, BOS first, and the empty token where Llama-2 has it."""
    words = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁": EMPTY_TOKEN}
    words |= {word: 100 + 37 * index for index, word in enumerate(WORDS.split())}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.add_special_tokens([AddedToken(t, special=True) for t in ("<unk>", "<s>", "</s>")])
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return made


def copy_checkpoint(folder: Path, to: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(folder, to))


def edit_json(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes what a JSON file of the checkpoint says."""
    path = folder / name
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
