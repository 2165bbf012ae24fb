"""Fits a small network to one side's queries: Adam on random batches, compiled by the block."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mist_jax.axes import Array, Float

HIDDEN = 256
STEPS_PER_BLOCK, BLOCKS, BATCH = 100, 10, 256
LEARNING_RATE = 1e-3

Layers: TypeAlias = list[dict[str, Array]]
Loss: TypeAlias = Callable[[Layers, Layers, Array, Array], Array]


def perceptron(key: Array, widths: tuple[int, ...]) -> Layers:
    """Layers of `widths`, uniform within 1/sqrt(fan in)."""
    layers = []
    for number, (fan_in, width) in enumerate(pairwise(widths)):
        at = jax.random.fold_in(key, number)
        kernel = jax.random.uniform(at, (fan_in, width), minval=-1.0, maxval=1.0)
        layers.append({"kernel": kernel / np.sqrt(fan_in), "bias": jnp.zeros(width)})
    return layers


def applied(layers: Layers, x: Float[Array, "Q D"]) -> Float[Array, "Q F"]:
    """The last layer's output; SiLU between layers."""
    for layer in layers[:-1]:
        x = jax.nn.silu(x @ layer["kernel"] + layer["bias"])
    return x @ layers[-1]["kernel"] + layers[-1]["bias"]


def descend(
    loss: Loss,
    weights: Layers,
    fixed: Layers,
    rows: np.ndarray,
    seed: int,
    progress: Callable[[int], None],
) -> Layers:
    """`weights` after steps on batches of `rows` [n, D]: at most 1,000, and about 100 passes.

    `loss` takes the weights, what is `fixed`, a batch and a key. Always the same draw of a seed.
    """
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    moments = optax.adam(LEARNING_RATE).init(weights)
    for block in range(min(BLOCKS, -(-len(rows) // BATCH))):
        # The shape does not depend on the side: there is one compilation for all.
        batches = rows[rng.integers(len(rows), size=(STEPS_PER_BLOCK, BATCH))]
        keys = jax.random.split(jax.random.fold_in(key, block), STEPS_PER_BLOCK)
        state = _block(loss, weights, moments, fixed, batches, keys)
        weights, moments = jax.block_until_ready(state)
        progress(1)
    return weights


def flattened(name: str, layers: Layers) -> dict[str, np.ndarray]:
    """Arrays by name, as members hold them."""
    return {
        f"{name}_{part}_{number}": np.asarray(leaf)
        for number, layer in enumerate(layers)
        for part, leaf in layer.items()
    }


def unflattened(name: str, arrays, layers: int) -> Layers:
    """The inverse of `flattened`."""
    return [
        {part: jnp.asarray(arrays[f"{name}_{part}_{number}"]) for part in ("kernel", "bias")}
        for number in range(layers)
    ]


@partial(jax.jit, static_argnums=0)
def _block(loss, weights, moments, fixed, batches, keys):
    optimiser = optax.adam(LEARNING_RATE)

    def step(carry, this):
        weights, moments = carry
        batch, key = this
        gradient = jax.grad(loss)(weights, fixed, batch, key)
        updates, moments = optimiser.update(gradient, moments, weights)
        return (optax.apply_updates(weights, updates), moments), None

    return jax.lax.scan(step, (weights, moments), (batches, keys))[0]
