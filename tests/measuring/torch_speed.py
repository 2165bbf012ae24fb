"""What `experiments.benchmark` is to be compared with: the same 7B policy in PyTorch, on a GPU.

    python -m tests.measuring.torch_speed [BATCH ...]

timm's towers, transformers' Llama and its SDPA attention at random bfloat16 weights, from inputs
on the host to actions on the host. `eager` and `compile` are the model alone, with the token logits
that the published code computes; `hooks` is how steering that reads a risk is done there: one pass
to read the activations, then another in which a forward hook adds to them.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from tests.helpers.torch_reference import Projector, ResidualMLP, Sizes, VisionTowers
from tests.measuring.random_7b import SIZES

TEXT, ACTIONS, READ_LAYER = 38, 56, 16
WIDTH = SIZES["width"]
SHAPE = Sizes(
    image=224,
    dino_width=SIZES["dino_width"],
    dino_depth=SIZES["dino_depth"],
    siglip_width=SIZES["siglip_width"],
    siglip_depth=SIZES["siglip_depth"],
    width=WIDTH,
)


class Policy(nn.Module):
    """The forward of OpenVLA-OFT on embeddings of the prompt."""

    def __init__(self):
        super().__init__()
        self.towers = VisionTowers(SHAPE)
        self.projector = Projector(SHAPE.dino_width + SHAPE.siglip_width, WIDTH)
        self.llama = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=WIDTH,
                intermediate_size=SIZES["hidden"],
                num_hidden_layers=SIZES["layers"],
                num_attention_heads=32,
                vocab_size=SIZES["vocabulary"],
            )
        )
        self.llama.set_attn_implementation("sdpa")
        self.head = ResidualMLP(SHAPE)

    def forward(self, pixels: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Actions [B, 8, 7] from pixels [B, 2, 3, 224, 224] and text [B, T, D]."""
        seen = []
        for index in range(2):
            towers = [
                tower.get_intermediate_layers(pixels[:, index], n=[depth - 2])[0]
                for tower, depth in (
                    (self.towers.featurizer, SHAPE.dino_depth),
                    (self.towers.fused_featurizer, SHAPE.siglip_depth),
                )
            ]
            seen.append(torch.cat(towers, -1))
        patches = self.projector(torch.cat(seen, 1))
        blank = text.new_zeros(len(text), ACTIONS, WIDTH)
        x = torch.cat([text[:, :1], patches, text[:, 1:], blank, text[:, :1]], 1)
        everything = x.new_zeros(len(x), 1, x.shape[1], x.shape[1])
        hidden = self.llama.model(inputs_embeds=x, attention_mask=everything, use_cache=False)
        hidden = hidden.last_hidden_state
        # As in the published code, which does not use them; torch.compile leaves them out.
        self.llama.lm_head(hidden)
        return self.head(hidden[:, -ACTIONS - 2 : -2].reshape(len(x), 8, -1))


def hooked(policy: Policy, risk: nn.Module, vector: torch.Tensor) -> Callable:
    """Two passes: the first one's activations say whether the second one is steered."""

    def run(pixels: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        kept = []
        layers = policy.llama.model.layers

        def keep(_module, _inputs, output):
            kept.append(output[0] if isinstance(output, tuple) else output)

        def add(_module, _inputs, output):
            if isinstance(output, tuple):
                return (output[0] + vector, *output[1:])
            return output + vector

        handle = layers[READ_LAYER].register_forward_hook(keep)
        policy(pixels, text)
        handle.remove()
        risk(kept[0][:, -ACTIONS - 2 : -2].mean(1)).sigmoid().cpu()
        handle = layers[READ_LAYER + 4].register_forward_hook(add)
        actions = policy(pixels, text)
        handle.remove()
        return actions

    return run


def milliseconds(run: Callable, batch: int, repeats: int = 15, warm_up: int = 3) -> float:
    """Median, host to host."""
    pixels = torch.randn(batch, 2, 3, 224, 224, dtype=torch.bfloat16)
    text = torch.randn(batch, TEXT, WIDTH, dtype=torch.bfloat16)
    times = []
    for _ in range(warm_up + repeats):
        began = time.perf_counter()
        run(pixels.cuda(), text.cuda()).cpu()
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times[warm_up:])


@torch.no_grad()
def main() -> None:
    """Prints one line per way and batch size."""
    batches = [int(value) for value in sys.argv[1:]] or [1, 8]
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    torch.set_default_device("cuda")
    policy = Policy().eval()
    risk = nn.Sequential(nn.Linear(WIDTH, 256), nn.GELU(), nn.Linear(256, 7))
    torch.set_default_device("cpu")
    vector = torch.randn(WIDTH, device="cuda") * WIDTH**-0.5
    ways = {
        "eager": policy,
        "hooks": hooked(policy, risk, vector),
        "compile": torch.compile(policy),
    }
    title = f"PyTorch {torch.__version__}, bfloat16, {torch.cuda.get_device_name()}"
    table = Table("way", "batch", "ms", "queries/s", box=None, title=title)
    for way, run in ways.items():
        for batch in batches:
            median = milliseconds(run, batch)
            print(f"{way} {batch}: {median:.1f} ms", flush=True)
            table.add_row(way, str(batch), f"{median:.1f}", f"{1e3 * batch / median:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
