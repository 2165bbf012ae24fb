"""A way to find directions: the seam that a new steering method fits into."""

from collections.abc import Callable
from dataclasses import dataclass

from mist_jax.policy.policy import Policy
from mist_jax.risk.features import Samples
from mist_jax.steering.bank import Directions
from mist_jax.steering.extraction import DEFAULT_MIN_SAMPLES
from mist_jax.steering.value_vectors import DEFAULT_TOP


@dataclass(frozen=True)
class MethodInputs:
    """What a method may look at.

    Attributes:
        samples: the queries, with activations [Q, L, D] and labels.
        columns: stored layers (indices into L) to make vectors for.
        layers: the same, as layers of the model.
        policy: whose activations they are.
        found: what the methods before it found.
        min_samples: matched risky queries below which a direction is left out.
        top: value vectors in a direction.
        seed: of whatever is drawn.
    """

    samples: Samples
    columns: tuple[int, ...]
    layers: tuple[int, ...]
    policy: Policy
    found: tuple[Directions, ...] = ()
    min_samples: int = DEFAULT_MIN_SAMPLES
    top: int = DEFAULT_TOP
    seed: int = 0


@dataclass(frozen=True)
class SteeringMethod:
    """One row of `METHODS`.

    `find` gives unit directions [V, L, D] at `columns`, each named by the harm that it leads away
    from ("x+": moving along +x was harmful), and why the missing ones are missing.
    """

    name: str
    what: str
    find: Callable[[MethodInputs], Directions]
