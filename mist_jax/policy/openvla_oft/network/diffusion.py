"""DDIM sampling as the published diffusion head does it (diffusers `DDIMScheduler` defaults)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.axes import Array, Float


def cosine_alphas(steps: int) -> np.ndarray:
    """Cumulative alphas [steps] of the `squaredcos_cap_v2` schedule, float32."""

    def level(t: np.ndarray) -> np.ndarray:
        return np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2

    grid = np.arange(steps, dtype=np.float64)
    betas = np.minimum(1 - level((grid + 1) / steps) / level(grid / steps), 0.999)
    return np.cumprod(1 - betas.astype(np.float32), dtype=np.float32)


def denoise(
    predict: Callable[[Array, Array], tuple[Array, Any]],
    noise: Float[Array, "B C A"],
    steps: int,
) -> tuple[Float[Array, "B C A"], Any]:
    """Run every step of DDIM (eta 0, samples clipped to [-1, 1]) from `noise` down to actions.

    `predict(noisy, step)` gives the noise and an auxiliary output; the last step's is returned.
    """
    alphas = jnp.asarray(cosine_alphas(steps))
    previous = jnp.concatenate([jnp.ones((1,)), alphas[:-1]])

    def update(noisy: Array, step: Array) -> tuple[Array, Any]:
        epsilon, auxiliary = predict(noisy, step.astype(jnp.float32))
        now, before = alphas[step], previous[step]
        clean = jnp.clip((noisy - jnp.sqrt(1 - now) * epsilon) / jnp.sqrt(now), -1, 1)
        return jnp.sqrt(before) * clean + jnp.sqrt(1 - before) * epsilon, auxiliary

    actions, auxiliaries = jax.lax.scan(update, noise, jnp.arange(steps - 1, -1, -1))
    return actions, jax.tree.map(lambda values: values[-1], auxiliaries)
