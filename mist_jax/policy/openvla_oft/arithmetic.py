"""How much arithmetic one forward is: what a measured time is to be compared with."""

import numpy as np

from mist_jax.policy.openvla_oft.model import parameter_shapes
from mist_jax.policy.openvla_oft.network.config import OpenVLAOFTConfig


def forward_flops(config: OpenVLAOFTConfig, batch: int) -> float:
    """Floating-point operations of one forward's matrix products, a multiply-add counting two.

    Prompts of the configuration's capacity; norms, softmax and other element-wise work, less than
    a hundredth of the whole at 7B, are left out.
    """
    length = config.sequence_length(config.prompt_capacity)
    passes = config.diffusion_steps if config.action_head == "diffusion" else 1
    towers = {"dino": config.dino, "siglip": config.siglip}
    patches = config.images * config.patches
    # How often each product is made for one example, by where its matrix stands; first match wins.
    rows = {
        **{f"vision/{name}/blocks/film": config.images for name in towers},
        **{
            f"vision/{name}/blocks": patches + config.images * tower.prefix_tokens
            for name, tower in towers.items()
        },
        "vision": patches,
        "language/lm_head": passes * config.action_tokens,
        "language/blocks": passes * length,
        "noisy_action_projector": passes * config.action_tokens,
        "proprio_projector": 1,
        "action_head": passes * config.chunk,
    }
    attention = passes * config.layers * length**2 * config.width
    for tower in towers.values():
        tokens = config.patches + tower.prefix_tokens
        attention += config.images * tower.blocks * tokens**2 * tower.width
    products = 0
    for path, shape in parameter_shapes(config).items():
        if path.endswith("/kernel"):
            count = next(count for prefix, count in rows.items() if path.startswith(prefix))
            products += count * int(np.prod(shape))
    return 2.0 * batch * (products + 2 * attention)
