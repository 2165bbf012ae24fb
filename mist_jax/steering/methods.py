"""Every steering method there is, one row each; random directions come last, as controls."""

from collections.abc import Mapping

import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.extensions import Table
from mist_jax.intervention.site import DEFAULT_SITE
from mist_jax.steering.bank import Directions
from mist_jax.steering.extraction import contrast_means, extract, probe_normals, random_directions
from mist_jax.steering.method import MethodInputs, SteeringMethod
from mist_jax.steering.readout import action_readout, value_vectors_of
from mist_jax.steering.value_vectors import value_vector_directions

RANDOM = "random"


def find_contrast(inputs: MethodInputs) -> Directions:
    """Mean of the safe minus mean of the risky queries."""
    return extract(
        "contrast", contrast_means, inputs.samples, inputs.columns, inputs.min_samples, inputs.seed
    )


def find_linear(inputs: MethodInputs) -> Directions:
    """Normals of logistic probes."""
    return extract(
        "linear", probe_normals, inputs.samples, inputs.columns, inputs.min_samples, inputs.seed
    )


def find_value_vectors(inputs: MethodInputs) -> Directions:
    """Value vectors by what they do to the action.

    Raises:
        UserError: the dataset lacks the last layer, or the policy cannot be read out early.
    """
    samples, policy = inputs.samples, inputs.policy
    last = policy.layers - 1
    if last not in samples.layers or samples.site != DEFAULT_SITE:
        raise UserError(
            f"value_vectors reads {DEFAULT_SITE} of the last layer ({last}), which the dataset "
            "does not hold; collect it, or leave value_vectors out of --methods"
        )
    hidden = samples.activation[:, samples.layers.index(last)].mean(axis=0, dtype=np.float64)
    readout = action_readout(policy, hidden)
    vectors = value_vectors_of(policy, inputs.layers)
    return value_vector_directions(vectors, readout, inputs.top)


def find_random(inputs: MethodInputs) -> Directions:
    """A control for every name that another method found; for all where it is the only method."""
    wanted = {name for directions in inputs.found for name in directions.names}
    names = [n for n in SIGNED_MOTIONS if n in wanted or not inputs.found]
    width = inputs.samples.activation.shape[-1]
    return random_directions(names, len(inputs.columns), width, inputs.seed)


METHODS: Mapping[str, SteeringMethod] = Table(
    "METHODS",
    SteeringMethod,
    (
        SteeringMethod("contrast", "mean of the safe minus mean of the risky", find_contrast),
        SteeringMethod("linear", "normals of logistic probes", find_linear),
        SteeringMethod("value_vectors", "weights that move the action", find_value_vectors),
        SteeringMethod(RANDOM, "isotropic, of the same norm: the control", find_random),
    ),
)


def in_order(names: tuple[str, ...]) -> tuple[SteeringMethod, ...]:
    """The named methods, random last.

    Raises:
        UserError: there is no such method.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise UserError(f"no steering method {unknown[0]!r}; there are {', '.join(METHODS)}")
    return tuple(METHODS[name] for name in sorted(names, key=lambda name: name == RANDOM))
