"""What a detector must beat: the same learner on inputs that need no look inside the model."""

import numpy as np

from mist_jax.risk.features import Samples
from mist_jax.risk.judging.evidence import CLOCK
from mist_jax.risk.perceptron.detector import Perceptron


def _step(samples: Samples) -> tuple[np.ndarray, tuple[int, ...]]:
    """The step index alone."""
    return samples.step.astype(np.float32)[:, None, None], (0,)


def _state(samples: Samples) -> tuple[np.ndarray, tuple[int, ...]]:
    """End-effector position and orientation, and finger positions."""
    return samples.state[:, None], (0,)


def _action(samples: Samples) -> tuple[np.ndarray, tuple[int, ...]]:
    """The predicted chunk alone."""
    return samples.action[:, None], (0,)


BASELINES = (Perceptron(CLOCK, _step), Perceptron("state", _state), Perceptron("action", _action))
