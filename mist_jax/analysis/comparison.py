"""Two policies beside each other: parameters, activations and actions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from mist_jax.analysis.action_gap import executed
from mist_jax.analysis.similarity import linear_cka
from mist_jax.errors import UserError
from mist_jax.policy.policy import Policy
from mist_jax.record.observation import Observation


@dataclass(frozen=True)
class ParameterDifference:
    """One parameter of two policies; a stack of blocks is one parameter.

    `relative` is |second - first| / |first|: sqrt(2) for independent ones of equal length, 0 for
    equal ones; inf where the first is zero and the second is not. `cosine` is of the angle between
    them, 0 where one is zero.
    """

    path: str  # names joined by slashes
    shape: tuple[int, ...]
    relative: float
    cosine: float


def compare_parameters(first: Policy, second: Policy) -> tuple[ParameterDifference, ...]:
    """Every parameter that both have, in the order of the paths.

    Raises:
        UserError: a parameter is missing in one of them or has another shape: other architectures.
    """
    one, other = (_flat(policy) for policy in (first, second))
    if set(one) != set(other):
        odd = sorted(set(one) ^ set(other))[0]
        raise UserError(f"{first.identity} and {second.identity} do not both have {odd}")
    found = []
    for path in sorted(one):
        a, b = _whole(one[path]), _whole(other[path])
        if a.shape != b.shape:
            raise UserError(
                f"{path} is {a.shape} in {first.identity} and {b.shape} in {second.identity}"
            )
        shape = a.shape
        a, b = (np.asarray(leaf, np.float64).ravel() for leaf in jax.device_get((a, b)))
        apart, length, product = np.linalg.norm(b - a), np.linalg.norm(a), np.linalg.norm(b)
        product *= length
        found.append(
            ParameterDifference(
                path=path,
                shape=shape,
                relative=_relative(float(apart), float(length)),
                cosine=float(a @ b / product) if product else 0.0,
            )
        )
    return tuple(found)


def compare_activations(
    first: Policy,
    second: Policy,
    observations: Sequence[Observation | Mapping[str, np.ndarray]],
    instructions: Sequence[str],
    *,
    sites: Sequence[str] = ("llm.resid",),
    debiased: bool = True,
) -> dict[str, np.ndarray]:
    """Linear CKA of every layer of one policy with every layer of the other, by site: [L, L'].

    Each policy sees the observations through its own preprocessing; activations are means over the
    site's tokens. One sample per observation: take dozens, of different moments.

    Raises:
        UserError: lists of different length, fewer than four observations, or an unknown site.
    """
    one, other = (
        policy.predict(observations, instructions, sites=tuple(sites)).activations
        for policy in (first, second)
    )
    return {
        site: np.array(
            [
                [linear_cka(a, b, debiased=debiased) for b in other[site].swapaxes(0, 1)]
                for a in one[site].swapaxes(0, 1)
            ]
        )
        for site in sites
    }


def compare_actions(
    first: Policy,
    second: Policy,
    observations: Sequence[Observation | Mapping[str, np.ndarray]],
    instructions: Sequence[str],
) -> np.ndarray:
    """Second policy's actions minus the first's on the same observations, float32 [B, C, A].

    In executed action units a control step, before the clip and the gripper's turn to open or shut.

    Raises:
        UserError: lists of different length, or chunks of different size.
    """
    one, other = (
        policy.predict(observations, instructions).raw_actions for policy in (first, second)
    )
    if one.shape != other.shape:
        raise UserError(
            f"{first.identity} gives chunks {one.shape[1:]} and {second.identity} {other.shape[1:]}"
        )
    return executed(other) - executed(one)


def _relative(apart: float, length: float) -> float:
    if apart == 0:
        return 0.0
    return apart / length if length else float("inf")


def _flat(policy: Policy) -> dict[str, Any]:
    return traverse_util.flatten_dict(policy.parameters, sep="/")  # type: ignore[return-value]


def _whole(leaf: Any) -> Any:
    """A parameter as one array; the layers of an unrolled policy's matrix are a stack again."""
    return np.stack(jax.device_get(leaf)) if isinstance(leaf, tuple) else leaf
