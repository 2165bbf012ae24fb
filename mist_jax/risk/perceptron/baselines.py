"""What a detector must beat: the same learner on inputs that need no look inside the model."""

import numpy as np

from mist_jax.risk.features import Samples
from mist_jax.risk.judging.evidence import CLOCK
from mist_jax.risk.perceptron.detector import Perceptron


def _step(samples: Samples) -> np.ndarray:
    """The step index alone."""
    return samples.step.astype(np.float32)[:, None]


def _state(samples: Samples) -> np.ndarray:
    """End-effector position and orientation, and finger positions."""
    return samples.state


def _action(samples: Samples) -> np.ndarray:
    """The predicted chunk alone."""
    return samples.action


BASELINES = (
    Perceptron(CLOCK, inputs=_step),
    Perceptron("state", inputs=_state),
    Perceptron("action", inputs=_action),
)
