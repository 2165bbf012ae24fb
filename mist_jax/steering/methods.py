"""Every steering method there is, one row each; random ones come last, as controls."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.extensions import Table
from mist_jax.intervention.site import DEFAULT_SITE
from mist_jax.steering.bank import Directions
from mist_jax.steering.conceptors.fit import Conceptors, find_conceptors, turned_conceptors
from mist_jax.steering.extraction import (
    contrast_means,
    extract,
    probe_normals,
    random_directions,
    residual_norms,
)
from mist_jax.steering.learned.directions import learned_directions
from mist_jax.steering.method import Found, MethodInputs, SteeringMethod
from mist_jax.steering.permuted import permute_labels
from mist_jax.steering.readout import action_readout, value_vectors_of
from mist_jax.steering.value_vectors import value_vector_directions

RANDOM, CONCEPTOR, LEARNED = "random", "conceptor", "learned"


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


def find_conceptor(inputs: MethodInputs) -> Conceptors:
    """Soft projections onto safe and not risky states."""
    return find_conceptors(inputs.samples, inputs.columns, inputs.min_samples, inputs.seed)


def find_learned(inputs: MethodInputs) -> Directions:
    """Pushes common to many states, learned by gradient for what the other methods have names for.

    Raises:
        UserError: there are no pictures to ask the policy with, or its actions have no gradient.
    """
    if inputs.states is None:
        raise UserError(
            "learned asks the policy about stored pictures, which the dataset lacks; collect with "
            "--images=query, or leave learned out of --methods"
        )
    length = np.zeros(inputs.policy.sites[inputs.samples.site].layers, np.float32)
    length[list(inputs.layers)] = residual_norms(inputs.samples, inputs.columns)
    return learned_directions(
        inputs.policy,
        inputs.states,
        _named(inputs),
        length,
        inputs.samples.site,
        config=inputs.learning,
        seed=inputs.seed,
    )


def with_permuted_labels(find: Callable[[MethodInputs], Found]) -> Callable[[MethodInputs], Found]:
    """The method `find`, made of the same activations under the labels of other episodes."""

    def found(inputs: MethodInputs) -> Found:
        return find(replace(inputs, samples=permute_labels(inputs.samples, inputs.seed)))

    return found


def find_random(inputs: MethodInputs) -> Directions:
    """A control for every name that another method found; for all where it is the only method."""
    width = inputs.samples.activation.shape[-1]
    return random_directions(_named(inputs), len(inputs.columns), width, inputs.seed)


def find_random_conceptor(inputs: MethodInputs) -> Conceptors:
    """A control for every conceptor: the same eigenvalues, turned at random.

    Raises:
        UserError: there are no conceptors.
    """
    found = [one for one in inputs.found if isinstance(one, Conceptors) and one.names]
    if not found:
        raise UserError(
            "conceptor_random turns conceptors and there are none: add conceptor to --methods, or "
            "leave conceptor_random out"
        )
    return turned_conceptors(found[0], inputs.seed)


def _named(inputs: MethodInputs) -> list[str]:
    """The names that the methods before found; all where there were none."""
    wanted = {name for one in inputs.found for name in one.names}
    return [name for name in SIGNED_MOTIONS if name in wanted or not inputs.found]


METHODS: Mapping[str, SteeringMethod] = Table(
    "METHODS",
    SteeringMethod,
    (
        SteeringMethod("contrast", "mean of the safe minus mean of the risky", find_contrast),
        SteeringMethod("linear", "normals of logistic probes", find_linear),
        SteeringMethod("value_vectors", "weights that move the action", find_value_vectors),
        SteeringMethod(CONCEPTOR, "soft projection onto safe and not risky states", find_conceptor),
        SteeringMethod(LEARNED, "by gradient, for the action alone", find_learned),
        *(
            SteeringMethod(
                f"{name}_permuted",
                f"{name}, with the labels of other episodes of the task",
                with_permuted_labels(find),
            )
            for name, find in (
                ("contrast", find_contrast),
                ("linear", find_linear),
                (CONCEPTOR, find_conceptor),
            )
        ),
        SteeringMethod(RANDOM, "isotropic, of the same norm", find_random, control=True),
        SteeringMethod(
            f"{CONCEPTOR}_random",
            "conceptors of the same eigenvalues, turned",
            find_random_conceptor,
            control=True,
        ),
    ),
)


def in_order(names: tuple[str, ...]) -> tuple[SteeringMethod, ...]:
    """The named methods, controls last.

    Raises:
        UserError: there is no such method.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise UserError(f"no steering method {unknown[0]!r}; there are {', '.join(METHODS)}")
    return tuple(METHODS[name] for name in sorted(names, key=lambda name: METHODS[name].control))
