"""What stands between a risk head's features and its hazards: three kinds, one member at a time.

A trunk's weights are a flat dict of arrays, so that members stack and checkpoints stay plain. Names
that end in `kernel` are what weight decay acts on. `X` features come in as an axis of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, TypeAlias

import jax
import jax.numpy as jnp

from mist_jax.axes import Array, Float

Weights: TypeAlias = dict[str, Array]


class Trunk(Protocol):
    """Features and the state after the query before to hazard logits and the state after this."""

    @property
    def name(self) -> str: ...

    def initial(
        self, key: Array, *, inputs: int, hidden: int, windows: int, motions: int
    ) -> Weights:
        """Fresh weights; hazards start at probability 1/2."""
        ...

    def state_width(self, weights: Weights) -> int:
        """Numbers remembered from query to query; 0: none."""
        ...

    def __call__(
        self, weights: Weights, x: Float[Array, "B inputs"], state: Float[Array, "B F"]
    ) -> tuple[Float[Array, "B W M"], Float[Array, "B F"]]:
        """Hazard logits and the next state; zeros are the state at an episode's first query."""
        ...

    def unroll(self, weights: Weights, x: Float[Array, "B Q inputs"]) -> Float[Array, "B Q W M"]:
        """Hazard logits of whole episodes at once, each query in the light of those before it."""
        ...


@dataclass(frozen=True)
class LinearTrunk:
    """Hazard logits are linear in the features."""

    name: str = "linear"

    def initial(
        self, key: Array, *, inputs: int, hidden: int, windows: int, motions: int
    ) -> Weights:
        """A zero kernel: the loss is convex."""
        del key, hidden
        return _output(jnp.zeros((inputs, windows, motions)))

    def state_width(self, weights: Weights) -> int:
        """None."""
        del weights
        return 0

    def __call__(
        self, weights: Weights, x: Float[Array, "B inputs"], state: Float[Array, "B F"]
    ) -> tuple[Float[Array, "B W M"], Float[Array, "B F"]]:
        """x @ kernel + bias."""
        return _hazards(weights, x), state

    def unroll(self, weights: Weights, x: Float[Array, "B Q inputs"]) -> Float[Array, "B Q W M"]:
        """Each query by itself."""
        return _hazards(weights, x)


@dataclass(frozen=True)
class PerceptronTrunk:
    """One hidden layer, gelu."""

    name: str = "perceptron"

    def initial(
        self, key: Array, *, inputs: int, hidden: int, windows: int, motions: int
    ) -> Weights:
        """Normal kernels of variance 1 / fan in."""
        first, second = jax.random.split(key)
        return {
            "hidden_kernel": _normal(first, (inputs, hidden)),
            "hidden_bias": jnp.zeros((hidden,)),
            **_output(_normal(second, (hidden, windows, motions))),
        }

    def state_width(self, weights: Weights) -> int:
        """None."""
        del weights
        return 0

    def __call__(
        self, weights: Weights, x: Float[Array, "B inputs"], state: Float[Array, "B F"]
    ) -> tuple[Float[Array, "B W M"], Float[Array, "B F"]]:
        """gelu(x @ kernel + bias) to hazards."""
        return self.unroll(weights, x[:, None])[:, 0], state

    def unroll(self, weights: Weights, x: Float[Array, "B Q inputs"]) -> Float[Array, "B Q W M"]:
        """Each query by itself."""
        hidden = jax.nn.gelu(x @ weights["hidden_kernel"] + weights["hidden_bias"])
        return _hazards(weights, hidden)


@dataclass(frozen=True)
class RecurrentTrunk:
    """A gated recurrent unit over the queries of an episode (Cho et al. 2014, equations 5 to 8)."""

    name: str = "recurrent"

    def initial(
        self, key: Array, *, inputs: int, hidden: int, windows: int, motions: int
    ) -> Weights:
        """Normal kernels of variance 1 / fan in; gates in the order reset, update."""
        keys = jax.random.split(key, 4)
        return {
            "input_kernel": _normal(keys[0], (inputs, 3 * hidden)),
            "input_bias": jnp.zeros((3 * hidden,)),
            "gate_kernel": _normal(keys[1], (hidden, 2 * hidden)),
            "candidate_kernel": _normal(keys[2], (hidden, hidden)),
            **_output(_normal(keys[3], (hidden, windows, motions))),
        }

    def state_width(self, weights: Weights) -> int:
        """Hidden units."""
        return weights["candidate_kernel"].shape[-1]

    def __call__(
        self, weights: Weights, x: Float[Array, "B inputs"], state: Float[Array, "B F"]
    ) -> tuple[Float[Array, "B W M"], Float[Array, "B F"]]:
        """One query's step; hazards are read off the new state."""
        state = _gated_step(weights, _drive(weights, x), state)
        return _hazards(weights, state), state

    def unroll(self, weights: Weights, x: Float[Array, "B Q inputs"]) -> Float[Array, "B Q W M"]:
        """From the state zero on; what knows no time is computed for all queries at once."""
        drives = jnp.swapaxes(_drive(weights, x), 0, 1)

        def step(state: Array, drive: Array) -> tuple[Array, Array]:
            after = _gated_step(weights, drive, state)
            return after, after

        zero = jnp.zeros((len(x), self.state_width(weights)), jnp.float32)
        _, states = jax.lax.scan(step, zero, drives)
        return _hazards(weights, jnp.swapaxes(states, 0, 1))


TRUNKS: Mapping[str, Trunk] = MappingProxyType(
    {trunk.name: trunk for trunk in (LinearTrunk(), PerceptronTrunk(), RecurrentTrunk())}
)


def _drive(weights: Weights, x: Float[Array, "*any inputs"]) -> Float[Array, "*any rest"]:
    """What the features ask of reset, update and candidate [..., 3F]."""
    return x @ weights["input_kernel"] + weights["input_bias"]


def _gated_step(
    weights: Weights, drive: Float[Array, "B rest"], state: Float[Array, "B F"]
) -> Float[Array, "B F"]:
    """h' = u h + (1 - u) tanh(W x + U (r h)), with r and u the sigmoids of their own sums."""
    width = state.shape[-1]
    gates = jax.nn.sigmoid(drive[..., : 2 * width] + state @ weights["gate_kernel"])
    reset, update = gates[..., :width], gates[..., width:]
    candidate = drive[..., 2 * width :] + (reset * state) @ weights["candidate_kernel"]
    return update * state + (1 - update) * jnp.tanh(candidate)


def _output(kernel: Float[Array, "F W M"]) -> Weights:
    return {"output_kernel": kernel, "output_bias": jnp.zeros(kernel.shape[1:])}


def _hazards(weights: Weights, x: Float[Array, "*any F"]) -> Float[Array, "*any W M"]:
    kernel = weights["output_kernel"]  # [F, W, M]
    flat = x @ kernel.reshape(kernel.shape[0], -1)
    return flat.reshape(*x.shape[:-1], *kernel.shape[1:]) + weights["output_bias"]


def _normal(key: Array, shape: tuple[int, ...]) -> Array:
    return jax.random.normal(key, shape) / jnp.sqrt(shape[0])
