"""OpenVLA-OFT assembled in PyTorch from its parts' own libraries, as the oracle of parity tests.

timm's vision transformers, transformers' Llama under a full mask, and heads whose parameters have
the published names; nothing of mist_jax.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from tests.helpers.torch_towers import VisionTransformer

EMPTY_TOKEN, STOP_TOKEN = 29871, 2


@dataclass(frozen=True)
class Sizes:
    """Of a random checkpoint; the heads of the towers are the published 16 unless said."""

    image: int = 28
    dino_width: int = 64
    dino_depth: int = 4
    dino_heads: int = 16
    registers: int = 4
    siglip_width: int = 96
    siglip_depth: int = 5
    siglip_heads: int = 16
    siglip_ratio: float = 3.7362
    width: int = 64
    hidden: int = 172
    layers: int = 3
    heads: int = 4
    vocabulary: int = 32064
    head: str = "l1"  # "l1", "diffusion", "tokens"
    head_blocks: int = 2
    proprio: int = 8  # 0: none
    film: bool = False
    images: int = 2
    chunk: int = 8
    action: int = 7
    eps: float = 1e-6


@dataclass
class Stages:
    """What each stage gave, for one example without padding."""

    dino: torch.Tensor
    siglip: torch.Tensor
    patches: torch.Tensor
    embeddings: torch.Tensor
    layers: list[torch.Tensor] = field(default_factory=list)  # residual stream, last one normed
    actions: torch.Tensor | None = None


class VisionTowers(nn.Module):
    """`vision_backbone`."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.featurizer = VisionTransformer(
            img_size=sizes.image,
            patch_size=14,
            embed_dim=sizes.dino_width,
            depth=sizes.dino_depth,
            num_heads=sizes.dino_heads,
            init_values=0.1,
            reg_tokens=sizes.registers,
            no_embed_class=True,
            num_classes=0,
        )
        self.fused_featurizer = VisionTransformer(
            img_size=sizes.image,
            patch_size=14,
            embed_dim=sizes.siglip_width,
            depth=sizes.siglip_depth,
            num_heads=sizes.siglip_heads,
            mlp_ratio=sizes.siglip_ratio,
            class_token=False,
            global_pool="map",
            num_classes=0,
        )


class Film(nn.Module):
    """Scale and shift of one block."""

    def __init__(self, language: int, width: int):
        super().__init__()
        self.scale = nn.Linear(language, width)
        self.shift = nn.Linear(language, width)


class Projector(nn.Module):
    """`projector`."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.fc1 = nn.Linear(inputs, 4 * inputs)
        self.fc2 = nn.Linear(4 * inputs, width)
        self.fc3 = nn.Linear(width, width)

    def forward(self, x):
        gelu = nn.functional.gelu
        return self.fc3(gelu(self.fc2(gelu(self.fc1(x)))))


class TwoLayer(nn.Module):
    """`proprio_projector` and `noisy_action_projector`."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.fc1 = nn.Linear(inputs, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, x):
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class ResidualBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.ffn = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())

    def forward(self, x):
        return x + self.ffn(x)


class ResidualMLP(nn.Module):
    """`model` of the L1 head, `noise_predictor.mlp_resnet` of the diffusion head."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        width, inputs = sizes.width, sizes.width * sizes.action
        self.layer_norm1 = nn.LayerNorm(inputs)
        self.fc1 = nn.Linear(inputs, width)
        self.mlp_resnet_blocks = nn.ModuleList(
            ResidualBlock(width) for _ in range(sizes.head_blocks)
        )
        self.layer_norm2 = nn.LayerNorm(width)
        self.fc2 = nn.Linear(width, sizes.action)

    def forward(self, x):
        x = torch.relu(self.fc1(self.layer_norm1(x)))
        for block in self.mlp_resnet_blocks:
            x = block(x)
        return self.fc2(self.layer_norm2(x))


class TorchReference(nn.Module):
    """The whole policy, one example at a time, every parameter random."""

    def __init__(self, sizes: Sizes, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.sizes = sizes
        self.vision_backbone = VisionTowers(sizes)
        self.projector = Projector(sizes.dino_width + sizes.siglip_width, sizes.width)
        self.language_model = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=sizes.width,
                intermediate_size=sizes.hidden,
                num_hidden_layers=sizes.layers,
                num_attention_heads=sizes.heads,
                vocab_size=sizes.vocabulary,
                rms_norm_eps=sizes.eps,
            )
        )
        head = ResidualMLP(sizes)
        if sizes.head == "l1":
            self.action_head = nn.ModuleDict({"model": head})
        if sizes.head == "diffusion":
            predictor = nn.ModuleDict({"mlp_resnet": head})
            self.action_head = nn.ModuleDict({"noise_predictor": predictor})
            self.noisy_action_projector = TwoLayer(1, sizes.width)
        self.head = head
        self.language_model.set_attn_implementation("eager")
        if sizes.proprio:
            self.proprio_projector = TwoLayer(sizes.proprio, sizes.width)
        self.film: Any = None
        if sizes.film:
            self.film = nn.ModuleDict(
                {
                    name: nn.ModuleList(Film(sizes.width, tower.embed_dim) for _ in tower.blocks)
                    for name, tower in self.towers.items()
                }
            )
        self.eval()
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                _randomise(name, parameter)
            if sizes.head == "tokens":  # else no token of a bin is ever the likeliest
                self.language_model.lm_head.weight[sizes.vocabulary - 320 : -64] *= 10
            if sizes.head == "diffusion":
                # a random denoiser amplifies rounding at each of 50 steps; a trained one does not
                self.noisy_action_projector.fc2.weight.mul_(0.2)

    @property
    def towers(self) -> dict[str, Any]:
        """The two vision transformers by published name."""
        backbone = self.vision_backbone
        return {"featurizer": backbone.featurizer, "fused_featurizer": backbone.fused_featurizer}

    @torch.no_grad()
    def forward(
        self,
        pixels: Sequence[Sequence[torch.Tensor]],
        token_ids: Sequence[int],
        proprio: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
    ) -> Stages:
        """Every stage for one example.

        Args:
            pixels: per image, normalised [3, H, W] for DINOv2 and for SigLIP.
            token_ids: BOS, prompt and the empty token.
            proprio: normalised.
            noise: [chunk, action], where the diffusion head starts.
        """
        embed = self.language_model.model.embed_tokens
        text = embed(torch.tensor(token_ids))
        stop = embed(torch.tensor([STOP_TOKEN]))
        language = torch.cat([text, stop]).mean(0)
        dino, siglip = (
            torch.cat([self._tower(name, image[index], language) for image in pixels])
            for index, name in enumerate(self.towers)
        )
        patches = self.projector(torch.cat([dino, siglip], -1))
        prefix = [text[:1], patches]
        if self.sizes.proprio:
            assert proprio is not None
            prefix.append(self.proprio_projector(proprio[None]))
        stages = Stages(dino, siglip, patches, torch.empty(0))
        if self.sizes.head == "diffusion":
            stages.actions = self._denoise(stages, prefix, text[1:], stop, noise)
            return stages
        tokens = patches.new_zeros(self.sizes.chunk * self.sizes.action, self.sizes.width)
        hidden = self._language(stages, [*prefix, text[1:], tokens, stop])
        if self.sizes.head == "l1":
            stages.actions = self.head(hidden.reshape(self.sizes.chunk, -1))
        else:
            ids = self.language_model.lm_head(hidden).argmax(-1)
            bins = torch.linspace(-1, 1, 256, dtype=torch.float64)
            centres = (bins[1:] + bins[:-1]) / 2
            index = (self.sizes.vocabulary - 64 - ids - 1).clamp(0, len(centres) - 1)
            stages.actions = centres[index].reshape(self.sizes.chunk, -1)
        return stages

    def _tower(self, name: str, pixels: torch.Tensor, language: torch.Tensor) -> torch.Tensor:
        tower = self.towers[name]
        read = len(tower.blocks) - 2
        if self.film is None:
            return tower.get_intermediate_layers(pixels[None], n=[read])[0][0]
        x = tower._pos_embed(tower.patch_embed(pixels[None]))
        for index in range(read + 1):
            block: Any = tower.blocks[index]
            film: Any = self.film[name][index]
            x = x + block.ls1(block.attn(block.norm1(x)))
            x = x * (1 + film.scale(language)) + film.shift(language)
            x = x + block.ls2(block.mlp(block.norm2(x)))
        return x[0, tower.num_prefix_tokens :]

    def _language(self, stages: Stages, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Hidden states at the positions that are read as actions."""
        sequence = torch.cat(list(parts))[None]
        length, count = sequence.shape[1], self.sizes.chunk * self.sizes.action
        everything = torch.ones(1, 1, length, length, dtype=torch.bool)
        out = self.language_model.model(
            inputs_embeds=sequence, attention_mask=everything, output_hidden_states=True
        )
        stages.embeddings = sequence[0]
        stages.layers = [layer[0] for layer in out.hidden_states[1:]]
        return out.last_hidden_state[0, length - 2 - count : length - 2]

    def _denoise(self, stages, prefix, prompt, stop, noise) -> torch.Tensor:
        steps = 50
        time = torch.arange(steps, dtype=torch.float64) / steps

        def level(t):
            return torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

        betas = (1 - level(time + 1 / steps) / level(time)).clamp(max=0.999)
        alphas = (1 - betas.float()).cumprod(0)  # float32, as diffusers keeps them
        x = noise
        for step in reversed(range(steps)):
            half = self.sizes.width // 2
            rate = torch.exp(torch.arange(half) * -(math.log(1e4) / (half - 1)))
            angle = step * rate
            clock = torch.cat([angle.sin(), angle.cos()])[None]
            tokens = self.noisy_action_projector(x.reshape(-1, 1))
            hidden = self._language(stages, [*prefix, clock, prompt, tokens, stop])
            epsilon = self.head(hidden.reshape(self.sizes.chunk, -1))
            now, before = alphas[step], alphas[step - 1] if step else torch.tensor(1.0)
            clean = ((x - (1 - now).sqrt() * epsilon) / now.sqrt()).clamp(-1, 1)
            x = before.sqrt() * clean + (1 - before).sqrt() * epsilon
        return x


def _randomise(name: str, parameter: torch.Tensor) -> None:
    """Norms and biases too, at scales that keep activations near one."""
    if ("norm" in name and name.endswith("weight")) or ".ffn.0.weight" in name:
        parameter.normal_(1.0, 0.2)
    elif name.endswith("gamma"):
        parameter.normal_(0.5, 0.2)
    elif name.startswith("film"):
        parameter.normal_(0, 0.05)
    elif parameter.ndim < 2 or "token" in name or "pos_embed" in name:
        parameter.normal_(0, 0.3)
    else:
        parameter.normal_(0, parameter[0].numel() ** -0.5)
