"""SAFE's two failure detectors (Gu et al., arXiv 2506.09937): a summed MLP and an LSTM.

What is the paper's, as its code has it (`failure_prob/model`, `failure_prob/conf`): the networks
and their initialisation, the losses, class weights, an L2 penalty on the kernels, Adam, batches of
64 episodes; after so many epochs (there 1000) the weights are taken as they are. What differs:
inputs are standardised on the training fold alone (there: not at all, or with test episodes too),
and one learning rate and one L2 strength, its defaults, of those that its scripts try (a grid).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mist_jax.axes import Array, Bool, Float

HIDDEN = 256
L2 = 1e-2
BATCH = 64  # episodes
EPOCHS_PER_CALL = 5

Weights: TypeAlias = dict[str, Array]


@dataclass(frozen=True)
class Sequences:
    """Padded episodes, and what each member K learns of their queries.

    An episode is 0 and its weight too where a member does not learn from it. Features of a member
    are (x - mean) / scale. `weight` is that of a query in the loss: 0 where its label is not known.
    """

    x: np.ndarray  # float32 [B, Q, D]
    mean: np.ndarray  # float32 [K, D]
    scale: np.ndarray  # float32 [K, D]
    label: np.ndarray  # bool [B, Q]
    weight: np.ndarray  # float32 [K, B, Q]


@dataclass(frozen=True)
class Network:
    """A network and how it learns; `logits` maps [B, Q, D] to [B, Q]."""

    initial: Callable[[Array, int], Weights]
    logits: Callable[[Weights, Array], Array]
    learning_rate: float


class _State(NamedTuple):
    weights: Any
    moments: optax.OptState


Loss: TypeAlias = Callable[[Array, Array], Array]


def mlp_initial(key: Array, width: int) -> Weights:
    """Width D to 256 to 1, uniform within 1/sqrt(fan in)."""
    keys = jax.random.split(key, 4)
    return {
        "hidden_kernel": _uniform(keys[0], (width, HIDDEN), width),
        "hidden_bias": _uniform(keys[1], (HIDDEN,), width),
        "output_kernel": _uniform(keys[2], (HIDDEN,), HIDDEN),
        "output_bias": _uniform(keys[3], (), HIDDEN),
    }


def mlp_logits(weights: Weights, x: Float[Array, "B Q D"]) -> Float[Array, "B Q"]:
    """Each query by itself."""
    hidden = jax.nn.relu(x @ weights["hidden_kernel"] + weights["hidden_bias"])
    return hidden @ weights["output_kernel"] + weights["output_bias"]


def lstm_initial(key: Array, width: int) -> Weights:
    """One layer of 256, uniform within 1/sqrt(256); gates in the order i, f, g, o."""
    keys = jax.random.split(key, 5)
    return {
        "input_kernel": _uniform(keys[0], (width, 4 * HIDDEN), HIDDEN),
        "state_kernel": _uniform(keys[1], (HIDDEN, 4 * HIDDEN), HIDDEN),
        "gate_bias": _uniform(keys[2], (4 * HIDDEN,), HIDDEN),
        "output_kernel": _uniform(keys[3], (HIDDEN,), HIDDEN),
        "output_bias": _uniform(keys[4], (), HIDDEN),
    }


def lstm_logits(weights: Weights, x: Float[Array, "B Q D"]) -> Float[Array, "B Q"]:
    """Each query in the light of those before it (Hochreiter & Schmidhuber 1997, with forget)."""
    gates = jnp.swapaxes(x @ weights["input_kernel"] + weights["gate_bias"], 0, 1)  # [Q, B, 4F]

    def step(carry, gate):
        hidden, cell = carry
        i, f, g, o = jnp.split(gate + hidden @ weights["state_kernel"], 4, axis=-1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return (hidden, cell), hidden

    nothing = jnp.zeros((x.shape[0], weights["state_kernel"].shape[0]), x.dtype)
    _, hidden = jax.lax.scan(step, (nothing, nothing), gates)
    return jnp.swapaxes(hidden, 0, 1) @ weights["output_kernel"] + weights["output_bias"]


def summed_loss(logits: Float[Array, "B Q"], label: Bool[Array, "B Q"]) -> Float[Array, "B Q"]:
    """Height of the running sum of sigmoids: up is bad in a success and good in a failure."""
    height = jnp.cumsum(jax.nn.sigmoid(logits), axis=1)
    return jnp.where(label, -height, height)


def entropy_loss(logits: Float[Array, "B Q"], label: Bool[Array, "B Q"]) -> Float[Array, "B Q"]:
    """Cross-entropy of every query with its label."""
    return optax.sigmoid_binary_cross_entropy(logits, label.astype(logits.dtype))


MLP = Network(mlp_initial, mlp_logits, learning_rate=1e-3)
LSTM = Network(lstm_initial, lstm_logits, learning_rate=3e-4)


def fit_network(
    network: Network,
    loss: Loss,
    sequences: Sequences,
    epochs: int,
    seed: int = 0,
    progress: Callable[[int], None] = lambda epochs: None,
) -> dict[str, np.ndarray]:
    """Weights [K, ...] of each member after `epochs`, each of every of its episodes once.

    The loss of a batch is the mean over its episodes of the weighted sum over their queries. What a
    member becomes does not depend on the others. `progress` is told how many more of the epochs are
    over.
    """
    x, label = jnp.asarray(sequences.x), jnp.asarray(sequences.label)
    of_member = [jnp.asarray(part) for part in (sequences.mean, sequences.scale, sequences.weight)]
    learns = [np.flatnonzero(weight.any(axis=1)) for weight in sequences.weight]
    batch = min(BATCH, max(len(rows) for rows in learns))
    state = _start(network, len(learns), x.shape[-1], seed)
    for start in range(0, epochs, EPOCHS_PER_CALL):
        count = min(EPOCHS_PER_CALL, epochs - start)
        order = _order(learns, batch, seed, range(start, start + count))
        state = jax.block_until_ready(_fit(network, loss, state, x, label, *of_member, order))
        progress(count)
    return {name: np.asarray(leaf) for name, leaf in state.weights.items()}


def network_logits(network: Network, weights: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    """Logits [B, Q] of normalised episodes `x` [B, Q, D] by one member."""
    return np.asarray(_logits(network, dict(weights), x))


def _order(learns: list[np.ndarray], batch: int, seed: int, epochs: range) -> np.ndarray:
    """Int32 [K, epochs, batches, batch]: episodes in fresh order, -1 where there is none left."""
    batches = -(-max(len(rows) for rows in learns) // batch)
    order = np.full((len(learns), len(epochs), batches * batch), -1, np.int32)
    for rows, mine in zip(learns, order, strict=True):
        for number, row in zip(epochs, mine, strict=True):
            row[: len(rows)] = np.random.default_rng((seed, number)).permutation(rows)
    return order.reshape(len(learns), len(epochs), batches, batch)


def _uniform(key: Array, shape: tuple[int, ...], fan_in: int) -> Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0) / np.sqrt(fan_in)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _start(network: Network, members: int, width: int, seed: int) -> _State:
    weights = network.initial(jax.random.key(seed), width)  # members start alike
    state = _State(weights, optax.adam(network.learning_rate).init(weights))
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (members, *leaf.shape)), state)


@partial(jax.jit, static_argnums=0)
def _logits(network: Network, weights: Weights, x: Float[Array, "B Q D"]) -> Array:
    return network.logits(weights, x)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def _fit(network, loss, state, x, label, mean, scale, weight, order):
    """A block of epochs of all members; `order` is int [K, epochs, batches, batch]."""
    optimiser = optax.adam(network.learning_rate)

    def cost(weights, x, label, weight, count):
        lost = (loss(network.logits(weights, x), label) * weight).sum() / count
        kernels = (leaf for name, leaf in weights.items() if name.endswith("kernel"))
        return lost + L2 * sum((leaf**2).sum() for leaf in kernels)

    def member(state, mean, scale, weight, order):
        def step(state, episodes):
            here = episodes >= 0
            normal = (x[episodes] - mean) / scale
            weighed = jnp.where(here[:, None], weight[episodes], 0.0)
            count = jnp.maximum(here.sum(), 1)
            gradient = jax.grad(cost)(state.weights, normal, label[episodes], weighed, count)
            updates, moments = optimiser.update(gradient, state.moments, state.weights)
            moved = _State(optax.apply_updates(state.weights, updates), moments)
            # A member of fewer episodes than another has no batch left: nothing happens.
            return jax.tree.map(
                lambda new, old: jnp.where(here.any(), new, old), moved, state
            ), None

        batches = order.reshape(-1, order.shape[-1])
        return jax.lax.scan(step, state, batches)[0]

    return jax.vmap(member)(state, mean, scale, weight, order)
