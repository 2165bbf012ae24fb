"""The placebo of labels: the same fit to outcomes that were dealt anew, with the same dose."""

from dataclasses import replace

import numpy as np

from mist_jax.counterfactual.fitting.fit import FittedValue, zero_of
from mist_jax.counterfactual.fitting.table import BranchTable


def permuted(table: BranchTable, seed: int) -> BranchTable:
    """The same forks with the outcomes of branches dealt anew among all branches of a task.

    The outcomes of one branch stay together. What is fitted to it knows how dangerous a task is and
    nothing of what an offset does: the placebo of labels.
    """
    rng = np.random.default_rng(seed)
    ends = np.stack([table.soon, table.later, table.success], axis=-1)
    for task in np.unique(table.task):
        rows = table.task == task
        cells = ends[rows].reshape(-1, 3)
        ends[rows] = rng.permutation(cells).reshape(ends[rows].shape)
    return replace(table, soon=ends[..., 0], later=ends[..., 1], success=ends[..., 2])


def acting_as_often(value: FittedValue, features: np.ndarray, share: float) -> FittedValue:
    """The same with the margin at which it acts on this share of the states `features` [n, F].

    So that it has the dose of what it is compared with. The margin may be negative.
    """
    costs, zero = value.costs(features), zero_of(value.offsets)
    gain = np.sort(costs[:, zero] - np.delete(costs, zero, axis=1).min(axis=1))[::-1]
    count = round(share * len(gain))
    margin = gain[count] if count < len(gain) else gain[-1] - 1.0
    return replace(value, margin=float(margin))
