"""A steering method of one's own: the difference of medians.

    python -m experiments.extract_steering_vectors --extensions=method --methods=median,random ...

run_evaluation then pushes along it with --method=median.
"""

from collections.abc import Sequence

import numpy as np

from mist_jax.steering.bank import Directions
from mist_jax.steering.extraction import Contrasts, extract
from mist_jax.steering.study.method import MethodInputs, SteeringMethod


def medians(data: Contrasts, risky: Sequence[np.ndarray]) -> np.ndarray:
    """Median of the safe minus median of the risky queries of each direction, [V, L, D]."""
    safe = np.median(data.centred[data.matched & data.safe], axis=0)
    return np.stack([safe - np.median(data.centred[data.matched & rows], axis=0) for rows in risky])


def find(inputs: MethodInputs) -> Directions:
    """Held-out figures and the reasons for what is missing come with `extract`."""
    return extract("median", medians, inputs.samples, inputs.columns, inputs.min_samples)


METHODS = (SteeringMethod("median", "difference of medians", find),)
