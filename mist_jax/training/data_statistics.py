"""The `dataset_statistics.json` of a training set, in the published form."""

from typing import Any

import numpy as np

from mist_jax.policy.preprocessing.gripper import gripper_for_policy
from mist_jax.training.samples import CloningSamples


def statistics_of(samples: CloningSamples, name: str) -> dict[str, Any]:
    """Mean, deviation, extremes and 1% quantiles of actions and proprio.

    Actions are those the model is to produce: the gripper, on [0, 1] with 1 open, is left as it
    is by the mask.
    """
    actions = gripper_for_policy(samples.actions[:, 0])
    table: dict[str, Any] = {
        "action": {**_describe(actions), "mask": [True] * 6 + [False]},
        "proprio": _describe(samples.proprio),
        "num_transitions": len(samples),
    }
    return {name: table}


def _describe(values: np.ndarray) -> dict[str, list[float]]:
    values = values.astype(np.float64)
    rows = {
        "mean": values.mean(0),
        "std": values.std(0),
        "max": values.max(0),
        "min": values.min(0),
        "q01": np.quantile(values, 0.01, axis=0),
        "q99": np.quantile(values, 0.99, axis=0),
    }
    return {name: row.tolist() for name, row in rows.items()}
