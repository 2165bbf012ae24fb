"""SAFE's two failure detectors (Gu et al., arXiv 2506.09937): a summed MLP and an LSTM.

What is the paper's: the networks and their initialisation, the losses, class weights, an L2 penalty
on the kernels, Adam. What differs from its code: inputs are standardised on the training fold
alone (there: not at all, or with test episodes too); the mask of an episode is its own (there, one
stale index serves every row of the padded actions); every update sees all training episodes, and
the validation fold says when to stop (there: 1000 epochs of batches of 64); one learning rate and
one L2 strength of those that its scripts try (there: a grid).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mist_jax.axes import Array, Bool, Float, Int

HIDDEN = 256
L2 = 1e-2
PATIENCE = 10  # epochs without a better validation loss
EPOCHS_PER_CALL = 5

Weights: TypeAlias = dict[str, Array]


@dataclass(frozen=True)
class Sequences:
    """Episodes padded to one length, and which of them each member K learns from and stops on."""

    x: np.ndarray  # float32 [K, B, Q, D], by each member's normaliser
    here: np.ndarray  # bool [B, Q]
    failed: np.ndarray  # bool [B]
    train: np.ndarray  # bool [K, B]
    validation: np.ndarray  # bool [K, B]


@dataclass(frozen=True)
class Network:
    """A network and how it learns; `logits` maps [B, Q, D] to [B, Q], `loss` gives [B]."""

    initial: Callable[[Array, int], Weights]
    logits: Callable[[Weights, Array], Array]
    loss: Callable[[Array, Array, Array], Array]
    epochs: int  # at most
    learning_rate: float = 1e-3


class _State(NamedTuple):
    weights: Weights
    moments: optax.OptState
    best: Weights
    best_loss: Float[Array, ""]
    best_epoch: Int[Array, ""]


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


def summed_loss(
    logits: Float[Array, "B Q"], here: Bool[Array, "B Q"], failed: Bool[Array, "B"]
) -> Float[Array, "B"]:
    """Mean height of the running sum of sigmoids: up is bad in a success and good in a failure."""
    height = jnp.cumsum(jax.nn.sigmoid(logits), axis=1)
    return _mean_here(jnp.where(failed[:, None], -height, height), here)


def entropy_loss(
    logits: Float[Array, "B Q"], here: Bool[Array, "B Q"], failed: Bool[Array, "B"]
) -> Float[Array, "B"]:
    """Mean cross-entropy of every query with the outcome of its episode."""
    label = jnp.broadcast_to(failed[:, None], logits.shape).astype(logits.dtype)
    return _mean_here(optax.sigmoid_binary_cross_entropy(logits, label), here)


SAFE_MLP = Network(mlp_initial, mlp_logits, summed_loss, epochs=200)
SAFE_LSTM = Network(lstm_initial, lstm_logits, entropy_loss, epochs=100)


def fit_network(
    network: Network,
    sequences: Sequences,
    seed: int,
    progress: Callable[[int], None] = lambda epochs: None,
) -> dict[str, np.ndarray]:
    """Weights [K, ...] of each member, at the epoch its validation fold liked best.

    Without failures and successes to validate on, a member trains to the end. What a member becomes
    does not depend on the others. `progress` is told how many more of its epochs are over.
    """
    x, here, failed = (
        jnp.asarray(part) for part in (sequences.x, sequences.here, sequences.failed)
    )
    train, validation = (
        jnp.asarray(_episode_weights(rows, sequences.failed))
        for rows in (sequences.train, sequences.validation)
    )
    lost = [sequences.failed[rows] for rows in sequences.validation]
    both = jnp.asarray([outcome.any() and not outcome.all() for outcome in lost])
    state = _start(network, len(x), x.shape[-1], seed)
    for start in range(0, network.epochs, EPOCHS_PER_CALL):
        state = _fit(network, state, x, here, failed, train, validation, both, start)
        done = start + EPOCHS_PER_CALL
        if (done - np.asarray(state.best_epoch) > PATIENCE).all():
            break
        progress(EPOCHS_PER_CALL)
    return {name: np.asarray(leaf) for name, leaf in state.best.items()}


def network_logits(network: Network, weights: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    """Logits [B, Q] of normalised episodes `x` [B, Q, D] by one member."""
    return np.asarray(_logits(network, dict(weights), x))


def _episode_weights(rows: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """Float32 [K, B]: of each of `rows` [K, B] 1/(1 + how many share its outcome); zero elsewhere.

    That is SAFE's weight by class frequency, and its mean over the episodes, in one.
    """
    failures = (rows & failed).sum(axis=1, keepdims=True)
    successes = (rows & ~failed).sum(axis=1, keepdims=True)
    return (rows / np.where(failed, failures + 1, successes + 1)).astype(np.float32)


def _uniform(key: Array, shape: tuple[int, ...], fan_in: int) -> Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0) / np.sqrt(fan_in)


def _mean_here(loss: Float[Array, "B Q"], here: Bool[Array, "B Q"]) -> Float[Array, "B"]:
    return jnp.where(here, loss, 0.0).sum(axis=1) / jnp.maximum(here.sum(axis=1), 1)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _start(network: Network, members: int, width: int, seed: int) -> _State:
    weights = network.initial(jax.random.key(seed), width)  # members start alike
    moments = optax.adam(network.learning_rate).init(weights)
    state = _State(weights, moments, weights, jnp.float32(jnp.inf), jnp.int32(0))
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (members, *leaf.shape)), state)


@partial(jax.jit, static_argnums=0)
def _logits(network: Network, weights: Weights, x: Float[Array, "B Q D"]) -> Array:
    return network.logits(weights, x)


@partial(jax.jit, static_argnums=0)
def _fit(network, state, x, here, failed, train, validation, stops, start):
    """A block of epochs of all members; `stops` is bool [K], weights of episodes are [K, B]."""
    optimiser = optax.adam(network.learning_rate)

    def cost(weights, x, train, validation):
        loss = network.loss(network.logits(weights, x), here, failed)
        kernels = (leaf for name, leaf in weights.items() if name.endswith("kernel"))
        penalty = L2 * sum((leaf**2).sum() for leaf in kernels)
        return (loss * train).sum() + penalty, (loss * validation).sum()

    def member(state, x, train, validation, stops):
        def epoch(state, number):
            # One forward pass serves both folds: validated is what these weights were before.
            gradient, validated = jax.grad(cost, has_aux=True)(state.weights, x, train, validation)
            patient = number - state.best_epoch <= PATIENCE
            better = jnp.where(stops, (validated < state.best_loss) & patient, True)

            def keep(new, old):
                return jnp.where(better, new, old)

            best = jax.tree.map(keep, state.weights, state.best)
            loss, at = keep(validated, state.best_loss), keep(number, state.best_epoch)
            updates, moments = optimiser.update(gradient, state.moments, state.weights)
            weights = jax.tree.map(jnp.add, state.weights, updates)
            return _State(weights, moments, best, loss, at), None

        return jax.lax.scan(epoch, state, start + jnp.arange(EPOCHS_PER_CALL))[0]

    return jax.vmap(member)(state, x, train, validation, stops)
