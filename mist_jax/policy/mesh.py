"""The devices that a policy's parameters are spread over."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

MODEL_AXIS = "model"


def policy_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """One axis over the given devices (default: all of them)."""
    return Mesh(np.asarray(devices or jax.devices()), (MODEL_AXIS,))
