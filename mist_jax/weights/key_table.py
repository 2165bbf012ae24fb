"""The one place that knows the published key names: which parameter each of them becomes.

The table is total both ways. Every key of a checkpoint is either mapped, or named here as one that
the reference loads and never uses; every parameter is filled exactly once. Sizes are not written
here: shapes are expressions over names, and the checkpoint's own tensors say what they are.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Layout = Literal["as_is", "transpose", "patch", "rows"]
Source = Literal[
    "model", "action_head", "proprio_projector", "noisy_action_projector", "vision_backbone"
]
HEAD_SOURCES: tuple[Source, ...] = (
    "action_head",
    "proprio_projector",
    "noisy_action_projector",
    "vision_backbone",
)


@dataclass(frozen=True)
class Rule:
    """One published key, or one key per block where it holds `{n}`.

    `shape` is space-separated; a dimension is a product of names and numbers. `path` None means
    that the reference loads the tensor and never uses it. `row` is the first row filled of a
    parameter that several keys share. Of a stack with `idle_last`, the reference runs the last
    block and discards what it gives.
    """

    source: Source
    key: str
    shape: str
    path: str | None
    layout: Layout = "as_is"
    stack: str | None = None  # the size that counts the blocks `{n}` ranges over
    idle_last: bool = False
    row: int = 0

    @property
    def pattern(self) -> re.Pattern[str]:
        """What matches the key, with the block's index as group `n`."""
        return re.compile(re.escape(self.key).replace(r"\{n\}", r"(?P<n>0|[1-9]\d*)"))


@dataclass(frozen=True)
class Contents:
    """Which variant a checkpoint is: the files it has besides the shards decide."""

    head: Literal["l1", "diffusion", "tokens"]
    proprio: bool
    film: bool


def _affine(source: Source, key: str, path: str | None, width: str, **more: Any) -> list[Rule]:
    return [
        Rule(source, f"{key}.{part}", width, path and f"{path}/{part}", **more)
        for part in ("weight", "bias")
    ]


def _linear(
    source: Source,
    key: str,
    path: str | None,
    outputs: str,
    inputs: str,
    *,
    bias: bool = True,
    **more: Any,
) -> list[Rule]:
    weight = Rule(
        source,
        f"{key}.weight",
        f"{outputs} {inputs}",
        path and f"{path}/kernel",
        "transpose",
        **more,
    )
    if not bias:
        return [weight]
    return [weight, Rule(source, f"{key}.bias", outputs, path and f"{path}/bias", **more)]


def _tower(source: Source, published: str, name: str, *, has_prefix: bool) -> list[Rule]:
    """A timm vision transformer; the file's own order is kept."""
    key, path, width = f"vision_backbone.{published}", f"vision/{name}", f"{name}_width"
    hidden, patch = f"{name}_hidden", f"{name}_patch"
    block, stacked = f"{key}.blocks.{{n}}", f"{path}/blocks"
    more: dict[str, Any] = {"stack": f"{name}_depth", "idle_last": True}
    rules = [
        Rule(source, f"{key}.pos_embed", f"1 patches {width}", f"{path}/position", "rows"),
        Rule(
            source,
            f"{key}.patch_embed.proj.weight",
            f"{width} 3 {patch} {patch}",
            f"{path}/patch/kernel",
            "patch",
        ),
        Rule(source, f"{key}.patch_embed.proj.bias", width, f"{path}/patch/bias"),
        *_affine(source, f"{block}.norm1", f"{stacked}/norm1", width, **more),
        *_linear(source, f"{block}.attn.qkv", f"{stacked}/qkv", f"3*{width}", width, **more),
        *_linear(source, f"{block}.attn.proj", f"{stacked}/proj", width, width, **more),
        *_affine(source, f"{block}.norm2", f"{stacked}/norm2", width, **more),
        *_linear(source, f"{block}.mlp.fc1", f"{stacked}/fc1", hidden, width, **more),
        *_linear(source, f"{block}.mlp.fc2", f"{stacked}/fc2", width, hidden, **more),
        *_affine(source, f"{key}.norm", None, width),
    ]
    if has_prefix:  # DINOv2: class and register tokens, and LayerScale
        prefix = f"{path}/prefix"
        registers = f"1 {name}_registers {width}"
        rules += [
            Rule(source, f"{key}.cls_token", f"1 1 {width}", prefix, "rows"),
            Rule(source, f"{key}.reg_token", registers, prefix, "rows", row=1),
            Rule(source, f"{block}.ls1.scale_factor", width, f"{stacked}/scale1", **more),
            Rule(source, f"{block}.ls2.scale_factor", width, f"{stacked}/scale2", **more),
        ]
    return rules


def _attention_pool(source: Source) -> list[Rule]:
    """SigLIP's pooling head, which the reference builds and never calls."""
    key, width, hidden = (
        "vision_backbone.fused_featurizer.attn_pool",
        "siglip_width",
        "siglip_pool_hidden",
    )
    return [
        Rule(source, f"{key}.latent", f"1 siglip_pool_latents {width}", None),
        *_linear(source, f"{key}.q", None, width, width),
        *_linear(source, f"{key}.kv", None, f"2*{width}", width),
        *_linear(source, f"{key}.proj", None, width, width),
        *_affine(source, f"{key}.norm", None, width),
        *_linear(source, f"{key}.mlp.fc1", None, hidden, width),
        *_linear(source, f"{key}.mlp.fc2", None, width, hidden),
    ]


def _vision(source: Source) -> list[Rule]:
    return [
        *_tower(source, "featurizer", "dino", has_prefix=True),
        *_tower(source, "fused_featurizer", "siglip", has_prefix=False),
        *_attention_pool(source),
    ]


def _film() -> list[Rule]:
    rules: list[Rule] = []
    for published, name in (("featurizer", "dino"), ("fused_featurizer", "siglip")):
        for part in ("scale", "shift"):
            rules += _linear(
                "vision_backbone",
                f"vision_backbone.{published}.blocks.{{n}}.{part}",
                f"vision/{name}/blocks/film/{part}",
                f"{name}_width",
                "width",
                stack=f"{name}_depth",
                idle_last=True,
            )
    return rules


def _projector() -> list[Rule]:
    path, fused = "vision/projector", "dino_width+siglip_width"
    return [
        *_linear("model", "projector.fc1", f"{path}/fc1", "projector_width", fused),
        *_linear("model", "projector.fc2", f"{path}/fc2", "width", "projector_width"),
        *_linear("model", "projector.fc3", f"{path}/fc3", "width", "width"),
    ]


def _language(head: str) -> list[Rule]:
    key, path = "language_model.model", "language"
    layer, stacked = f"{key}.layers.{{n}}", f"{path}/blocks"
    rules = [
        Rule("model", f"{key}.embed_tokens.weight", "vocabulary width", f"{path}/embedding"),
        Rule("model", f"{key}.norm.weight", "width", f"{path}/norm/weight"),
        *_linear(
            "model",
            "language_model.lm_head",
            f"{path}/lm_head" if head == "tokens" else None,
            "vocabulary",
            "width",
            bias=False,
        ),
    ]
    for norm, name in (
        ("input_layernorm", "input_norm"),
        ("post_attention_layernorm", "post_norm"),
    ):
        rules.append(
            Rule(
                "model",
                f"{layer}.{norm}.weight",
                "width",
                f"{stacked}/{name}/weight",
                stack="layers",
            )
        )
    shapes = {f"self_attn.{name}_proj": ("width", "width") for name in "qkvo"}
    shapes |= {f"mlp.{name}_proj": ("hidden", "width") for name in ("gate", "up")}
    shapes["mlp.down_proj"] = ("width", "hidden")
    for name, (outputs, inputs) in shapes.items():
        target = f"{stacked}/{name.rpartition('.')[2]}"
        rules += _linear(
            "model", f"{layer}.{name}", target, outputs, inputs, bias=False, stack="layers"
        )
    return rules


def _action_head(prefix: str) -> list[Rule]:
    """The residual MLP under `prefix`: it regresses actions, or predicts the noise in them."""
    source: Source = "action_head"
    block, path = f"{prefix}.mlp_resnet_blocks.{{n}}.ffn", "action_head"
    stacked = f"{path}/blocks"
    more: dict[str, Any] = {"stack": "head_blocks"}
    return [
        *_affine(source, f"{prefix}.layer_norm1", f"{path}/norm1", "action_dim*width"),
        *_linear(source, f"{prefix}.fc1", f"{path}/fc1", "width", "action_dim*width"),
        *_affine(source, f"{block}.0", f"{stacked}/norm", "width", **more),
        *_linear(source, f"{block}.1", f"{stacked}/linear", "width", "width", **more),
        *_affine(source, f"{prefix}.layer_norm2", f"{path}/norm2", "width"),
        *_linear(source, f"{prefix}.fc2", f"{path}/fc2", "action_dim", "width"),
    ]


def _two_layer(source: Source, inputs: str) -> list[Rule]:
    return [
        *_linear(source, "fc1", f"{source}/fc1", "width", inputs),
        *_linear(source, "fc2", f"{source}/fc2", "width", "width"),
    ]


def rules_for(contents: Contents) -> tuple[Rule, ...]:
    """The table of one variant."""
    vision = _vision("model")
    if contents.film:  # the FiLM file is the whole backbone again; the shards' copy is not used
        vision = [replace(rule, path=None) for rule in vision]
        vision += [*_vision("vision_backbone"), *_film()]
    rules = [*vision, *_projector(), *_language(contents.head)]
    if contents.head == "l1":
        rules += _action_head("model")
    if contents.head == "diffusion":
        rules += _action_head("noise_predictor.mlp_resnet")
        rules += _two_layer("noisy_action_projector", "1")
    if contents.proprio:
        rules += _two_layer("proprio_projector", "proprio_dim")
    return tuple(rules)


def evaluate(shape: str, sizes: Mapping[str, int]) -> tuple[int, ...] | None:
    """The numbers a shape expression stands for; None where a size is not known."""
    dimensions = []
    for expression in shape.split():
        total = 0
        for term in expression.split("+"):
            product = 1
            for factor in term.split("*"):
                value = int(factor) if factor.isdigit() else sizes.get(factor)
                if value is None:
                    return None
                product *= value
            total += product
        dimensions.append(total)
    return tuple(dimensions)
