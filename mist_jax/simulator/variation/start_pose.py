"""The arm's start off its usual joint angles."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

# By level: distance from the usual joint angles (rad), LIBERO-plus's five tiers.
RADII = (0.1, 0.2, 0.3, 0.4, 0.5)
_TRIES = 100


def joint_offsets(
    level: int, joints: int, rng: np.random.Generator
) -> Iterator[Float[np.ndarray, "joints"]]:
    """Offsets (rad) of the level's length in directions uniform on the sphere, to be tried in turn.

    As LIBERO-plus draws them; there the first is taken, touching or not. The directions do not
    depend on the level.
    """
    for _ in range(_TRIES):
        direction = rng.standard_normal(joints)
        yield RADII[level - 1] * direction / np.linalg.norm(direction)
