"""What a detector must beat: the same learner on inputs that need no look inside the model."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from mist_jax.risk.features import Samples

CLOCK = "clock"
DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {
        CLOCK: "the step index alone",
        "state": "end-effector position and orientation, and finger positions",
        "action": "the predicted chunk alone",
    }
)


def baseline_features(samples: Samples) -> dict[str, np.ndarray]:
    """Features [Q, 1, width] of each baseline, in the form that activations have."""
    return {
        CLOCK: samples.step.astype(np.float32)[:, None, None],
        "state": samples.state[:, None],
        "action": samples.action[:, None],
    }
