"""The policy's configuration, from a published checkpoint's tensor shapes and JSON files.

Sizes are the tensors'. Of `config.json` every field is either read, or must have the one value
that this project computes, or is known to change nothing; anything else is refused.

What a checkpoint does not say follows the platform its action width belongs to, as the published
code does it; optional fields of `config.json` say otherwise: `num_images_in_input`,
`num_actions_chunk`, `vision_num_heads` (one number per tower).
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mist_jax.errors import UserError
from mist_jax.policy.openvla_oft.network.config import (
    DINO_MEAN,
    DINO_STD,
    HALF,
    ActionBounds,
    OpenVLAOFTConfig,
    VisionTowerConfig,
)
from mist_jax.weights.key_table import Contents


@dataclass(frozen=True)
class Platform:
    """`prismatic/vla/constants.py`: what the published code fixes per robot."""

    chunk: int
    images: int
    bounds: ActionBounds


PLATFORMS: Mapping[int, Platform] = {  # by action width
    7: Platform(chunk=8, images=2, bounds="q01_q99"),  # LIBERO
    14: Platform(chunk=25, images=3, bounds="min_max"),  # ALOHA
}

# timm's model ids this project computes, and their heads; `Vision Transformer` of timm.
TOWERS: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "dino": (
        r"vit_(small|base|large)_patch14_reg4_dinov2\.lvd142m",
        {"small": 6, "base": 12, "large": 16},
    ),
    "siglip": (
        r"vit_(base|large|so400m)_patch\d+_siglip_\d+",
        {"base": 12, "large": 16, "so400m": 16},
    ),
}

# The only values of these fields that this project computes.
FIXED: Mapping[str, tuple[Any, ...]] = {
    "model_type": ("openvla",),
    "architectures": (["OpenVLAForActionPrediction"],),
    "arch_specifier": ("no-align+fused-gelu-mlp",),
    "use_fused_vision_backbone": (True,),
    "image_resize_strategy": ("resize-naive",),
    "timm_override_act_layers": ([None, None], None),
    "llm_backbone_id": ("llama2-7b-pure", "llama2-13b-pure"),
    "output_projector_states": (False,),
    "quantization_config": (None,),
}
READ = {
    "image_sizes",
    "n_action_bins",
    "num_actions_chunk",
    "num_images_in_input",
    "pad_to_multiple_of",
    "text_config",
    "timm_model_ids",
    "vision_backbone_id",
    "vision_num_heads",
}
FIXED_TEXT: Mapping[str, tuple[Any, ...]] = {
    "model_type": ("llama",),
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "tie_word_embeddings": (False,),
    "pretraining_tp": (1,),
    "rope_scaling": (None,),
    "pruned_heads": ({},),
    "quantization_config": (None,),
}
READ_TEXT: Mapping[str, str] = {  # field: the size it must agree with, or nothing
    "hidden_size": "width",
    "intermediate_size": "hidden",
    "num_hidden_layers": "layers",
    "vocab_size": "vocabulary",
    "num_attention_heads": "",
    "num_key_value_heads": "",
    "head_dim": "",
    "rms_norm_eps": "",
    "rope_theta": "",
    "rope_parameters": "",
}
# Bookkeeping of transformers' PretrainedConfig: nothing of a forward pass depends on it.
IDLE = re.compile(
    r"_name_or_path|transformers_version|auto_map|torch_dtype|dtype|norm_stats|hf_llm_id"
    r"|llm_max_length|max_position_embeddings|initializer_range|use_cache|attention_dropout"
    r"|architectures|\w*token_ids?|return_dict\w*|output_(hidden_states|attentions|scores)"
    r"|torchscript|use_bfloat16|tf_legacy_loss|chunk_size_feed_forward|is_(encoder_)?decoder"
    r"|is_encoder_decoder|cross_attention_hidden_size|add_cross_attention|tie_encoder_decoder"
    r"|max_length|min_length|do_sample|early_stopping|num_beams|num_beam_groups|temperature"
    r"|diversity_penalty|top_k|top_p|typical_p|\w*_penalty|\w*no_repeat_ngram_size|bad_words_ids"
    r"|num_return_sequences|remove_invalid_values|\w*suppress_tokens|finetuning_task|id2label"
    r"|label2id|tokenizer_class|prefix|task_specific_params|problem_type|_attn_implementation\w*"
)
LLAMA_HEADS, LLAMA_EPS, LLAMA_THETA = 32, 1e-6, 1e4  # LlamaConfig's defaults


def build_config(
    described: Mapping[str, Any],
    sizes: Mapping[str, int],
    contents: Contents,
    *,
    action_dim: int,
    processor: Mapping[str, Any] | None = None,
    images: int | None = None,
    chunk: int | None = None,
) -> OpenVLAOFTConfig:
    """The configuration of a checkpoint.

    Args:
        described: `config.json`.
        sizes: what the tensors say (`Plan.sizes`).
        contents: which variant it is.
        action_dim: dimensions of one action, from the head or the statistics.
        processor: `preprocessor_config.json`; None takes the published constants.
        images: cameras it takes, if `config.json` shall not decide.
        chunk: actions per query, likewise.

    Raises:
        UserError: a field has a value that would change the computation, or contradicts the
            tensors; all such fields are listed.
    """
    text = described.get("text_config") or {}
    problems = _refused("config.json", described, FIXED, set(READ))
    problems += _refused("config.json: text_config", text, FIXED_TEXT, set(READ_TEXT))
    problems += [
        f"text_config: {field} is {text[field]}, the tensors say {sizes[size]}"
        for field, size in READ_TEXT.items()
        if size and field in text and text[field] != sizes[size]
    ]
    heads = text.get("num_attention_heads", LLAMA_HEADS)
    width = sizes["width"]
    if width % heads or (width // heads) % 2:
        problems.append(
            f"text_config: num_attention_heads is {heads}, which does not divide width {width} "
            "into even heads"
        )
    if text.get("num_key_value_heads") not in (None, heads):
        problems.append("text_config: num_key_value_heads must equal num_attention_heads")
    if text.get("head_dim") not in (None, width // heads):
        problems.append(f"text_config: head_dim must be {width // heads}")
    rope = dict(text.get("rope_parameters") or {})
    theta = rope.pop("rope_theta", text.get("rope_theta", LLAMA_THETA))
    if rope not in ({}, {"rope_type": "default"}):
        problems.append(f"text_config: rope_parameters {rope} is not known to this project")
    vision_heads, found = _vision_heads(described, sizes)
    problems += found
    image_size, found = _image_size(described, sizes)
    problems += found
    pixels, found = _pixel_constants(processor)
    problems += found
    platform = PLATFORMS.get(action_dim)
    if platform is None and (images is None or chunk is None):
        missing = {"num_images_in_input", "num_actions_chunk"} - set(described)
        if missing:
            problems.append(
                f"config.json: actions have {action_dim} dimensions, which no known platform has; "
                f"it must say {', '.join(sorted(missing))}"
            )
    if problems:
        raise UserError("\n  ".join(["the checkpoint cannot be computed as it says:", *problems]))
    platform = platform or Platform(chunk=0, images=0, bounds="q01_q99")
    return OpenVLAOFTConfig(
        dino=_tower("dino", sizes, vision_heads[0], pixels[0]),
        siglip=_tower("siglip", sizes, vision_heads[1], pixels[1]),
        image_size=image_size,
        images=images or described.get("num_images_in_input", platform.images),
        projector_width=sizes["projector_width"],
        width=width,
        layers=sizes["layers"],
        heads=heads,
        mlp_width=sizes["hidden"],
        vocab_size=sizes["vocabulary"],
        proprio_dim=sizes["proprio_dim"] if contents.proprio else 0,
        action_head=contents.head,
        head_blocks=sizes.get("head_blocks", 0),
        film=contents.film,
        chunk=chunk or described.get("num_actions_chunk", platform.chunk),
        action_dim=action_dim,
        action_bounds=platform.bounds,
        rms_norm_eps=text.get("rms_norm_eps", LLAMA_EPS),
        rope_theta=theta,
        action_vocab_end=sizes["vocabulary"] - described.get("pad_to_multiple_of", 64),
        action_bins=described.get("n_action_bins", 256),
    )


def _refused(
    where: str, fields: Mapping[str, Any], fixed: Mapping[str, tuple[Any, ...]], read: set[str]
) -> list[str]:
    problems = []
    for name, value in fields.items():
        if name in fixed:
            if value not in fixed[name]:
                known = " or ".join(repr(v) for v in fixed[name])
                problems.append(f"{where}: {name} is {value!r}; this project computes {known}")
        elif name not in read and not IDLE.fullmatch(name):
            problems.append(f"{where}: field {name!r} ({value!r:.60}) is not known to this project")
    return problems


def _vision_heads(
    described: Mapping[str, Any], sizes: Mapping[str, int]
) -> tuple[tuple[int, int], list[str]]:
    problems = []
    backbone = described.get("vision_backbone_id", "dinosiglip-vit-so-224px")
    if not re.fullmatch(r"dinosiglip-vit-so-\d+px", str(backbone)):
        problems.append(
            f"config.json: vision_backbone_id {backbone!r} is not known to this project"
        )
    heads = [16, 16]
    ids = described.get("timm_model_ids")
    for index, (name, (pattern, known)) in enumerate(TOWERS.items()):
        if ids is None:
            break
        found = re.fullmatch(pattern, str(ids[index])) if len(ids) == len(TOWERS) else None
        if found is None:
            problems.append(f"config.json: timm_model_ids {ids!r} has no {name} this project knows")
        else:
            heads[index] = known[found[1]]
    heads = described.get("vision_num_heads") or heads
    for name, count in zip(TOWERS, heads, strict=True):
        if sizes[f"{name}_width"] % count:
            problems.append(
                f"{name}: width {sizes[f'{name}_width']} has no {count} equal heads; "
                "config.json can say vision_num_heads"
            )
    return (heads[0], heads[1]), problems


def _image_size(described: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[int, list[str]]:
    grid = math.isqrt(sizes["patches"])
    if grid**2 != sizes["patches"]:
        return 0, [f"pos_embed: {sizes['patches']} patches are no square grid"]
    if sizes["dino_patch"] != sizes["siglip_patch"]:
        return 0, [f"patch sizes {sizes['dino_patch']} and {sizes['siglip_patch']} must be equal"]
    side = grid * sizes["dino_patch"]
    stated = described.get("image_sizes", side)
    if stated not in (side, [side, side]):
        return side, [f"config.json: image_sizes is {stated}, the tensors say {side}"]
    return side, []


_Pixels = tuple[tuple[float, float, float], tuple[float, float, float]]


def _pixel_constants(
    processor: Mapping[str, Any] | None,
) -> tuple[tuple[_Pixels, _Pixels], list[str]]:
    """Mean and std per tower that the processor applies, and what it does that is not known.

    `tvf_normalize_params` are what it applies; `means` and `stds` beside them are not. Its sizes
    are the towers', which the tensors say.
    """
    published = ((DINO_MEAN, DINO_STD), (HALF, HALF))
    if processor is None:
        return published, []
    checks: dict[str, Callable[[Any], bool]] = {
        "image_resize_strategy": lambda value: value == "resize-naive",
        "use_fused_vision_backbone": lambda value: value is True,
        "tvf_do_letterbox": lambda value: value is False,
        "tvf_resize_params": lambda value: all(p["interpolation"] == 3 for p in value),
    }
    problems = [
        f"preprocessor_config.json: {name} is {processor[name]!r}, not what this project computes"
        for name, check in checks.items()
        if name in processor and not check(processor[name])
    ]
    if "tvf_normalize_params" not in processor:
        return published, problems
    dino, siglip = processor["tvf_normalize_params"]
    return (_constants(dino), _constants(siglip)), problems


def _constants(tower: Mapping[str, Any]) -> _Pixels:
    (red, green, blue), (red_std, green_std, blue_std) = tower["mean"], tower["std"]
    return (red, green, blue), (red_std, green_std, blue_std)


def _tower(name: str, sizes: Mapping[str, int], heads: int, pixels: _Pixels) -> VisionTowerConfig:
    is_dino = name == "dino"
    return VisionTowerConfig(
        width=sizes[f"{name}_width"],
        blocks=sizes[f"{name}_depth"] - 1,  # the last one's output is discarded
        heads=heads,
        mlp_width=sizes[f"{name}_hidden"],
        patch_size=sizes[f"{name}_patch"],
        prefix_tokens=1 + sizes["dino_registers"] if is_dino else 0,
        layer_scale=is_dino,
        mean=pixels[0],
        std=pixels[1],
    )
