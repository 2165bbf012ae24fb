"""A way to find directions: the seam that a new steering method fits into."""

from collections.abc import Callable
from dataclasses import dataclass, field

from mist_jax.policy.policy import Policy
from mist_jax.risk.features import Samples
from mist_jax.steering.bank import Directions
from mist_jax.steering.causal.states import CausalStates
from mist_jax.steering.conceptors.fit import Conceptors
from mist_jax.steering.extraction import DEFAULT_MIN_SAMPLES
from mist_jax.steering.learned.learn import LearningConfig
from mist_jax.steering.value_vectors import DEFAULT_TOP

Found = Directions | Conceptors
"""What a method found: vectors to add, or soft projections."""


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
        states: stored queries with pictures, for what asks the policy; none where the data keep
            none.
        learning: how pushes are learned by gradient.
    """

    samples: Samples
    columns: tuple[int, ...]
    layers: tuple[int, ...]
    policy: Policy
    found: tuple[Found, ...] = ()
    min_samples: int = DEFAULT_MIN_SAMPLES
    top: int = DEFAULT_TOP
    seed: int = 0
    states: CausalStates | None = None
    learning: LearningConfig = field(default_factory=LearningConfig)


@dataclass(frozen=True)
class SteeringMethod:
    """One row of `METHODS`.

    `find` gives unit directions [V, L, D] at `columns`, each named by the harm that it leads away
    from ("x+": moving along +x was harmful), and why the missing ones are missing; or conceptors
    named so. A `control` comes after all others, and makes one for each name that they found.
    """

    name: str
    what: str
    find: Callable[[MethodInputs], Found]
    control: bool = False
