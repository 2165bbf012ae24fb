"""Signed motions: every action dimension, forward and backward, in the order of SIGNED_MOTIONS.

The gripper's `+` closes it, as in `Contact.motion`.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS

Values = TypeVar("Values")
SIGN = np.asarray([1, -1] * len(ACTION_DIMENSIONS))  # of each signed motion
DIMENSION = np.repeat(np.arange(len(ACTION_DIMENSIONS)), 2)  # index of each one's action dimension
MOTIONS = len(SIGNED_MOTIONS)


def named(which: Iterable[Any]) -> list[str]:
    """The names of the signed motions that bool [M] marks, in their order."""
    return [name for name, marked in zip(SIGNED_MOTIONS, which, strict=True) if marked]


def either_way(probability: Values) -> Values:
    """Probability [..., A] that a dimension does it one way or the other.

    `probability` is [..., M], of numpy or of JAX; the two ways are taken as independent given what
    is known.
    """
    forward, backward = probability[..., 0::2], probability[..., 1::2]  # type: ignore[index]
    return 1 - (1 - forward) * (1 - backward)


def signed(motion: np.ndarray, still: float) -> np.ndarray:
    """bool [..., M]: which way each dimension of `motion` [..., A] goes; neither below `still`."""
    moves = np.stack([motion > still, motion < -still], axis=-1)
    return moves.reshape(*motion.shape[:-1], MOTIONS)
