"""What is chosen among when an action value is fitted, and the yardstick it is chosen by."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mist_jax.counterfactual.fitting.table import BranchTable, Harm
from mist_jax.errors import UserError
from mist_jax.risk.splits import deal_groups

HeldOut = Literal["scene", "task"]
MIN_SCENES = 10  # two folds in a fold in a fold would hold a scene or two


@dataclass(frozen=True)
class Search:
    """Grids, and how the forks are divided.

    `kept` and the ridges are chosen by held-out likelihood, all else by the mean held-out loss of
    the branches that would be chosen: any later harm + `failure` * (no success). Of equals, the
    later of `prices` and `margins` is taken. `harms` says which harm may be forecast.
    """

    kept: tuple[int, ...] = (3, 8, 16, 32)  # features, the normal's first
    ridges: tuple[float, ...] = (3.0, 10.0, 30.0, 100.0, 300.0, np.inf)  # of the interaction
    main_ridges: tuple[float, ...] = (3.0, 30.0, 300.0)
    harms: tuple[Harm, ...] = ("soon", "later")
    weights: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)
    prices: tuple[float, ...] = (0.0, 0.02, 0.05)
    margins: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.2)
    failure: float = 1.0
    folds: int = 5
    seed: int = 0


def scene_folds(table: BranchTable, count: int, seed: int, unit: HeldOut = "scene") -> np.ndarray:
    """Fold int [forks]: whole scenes, dealt so that folds are alike in harm, success and size.

    With `unit` "task" whole tasks.

    Raises:
        UserError: too few scenes, or a single task.
    """
    found = len(np.unique(table.scene))
    if found < MIN_SCENES:
        raise UserError(
            f"the branches come from {found} scenes; it takes at least {MIN_SCENES}: "
            "fork more episodes"
        )
    of = table.scene if unit == "scene" else table.task
    scenes, number = np.unique(of, return_inverse=True)
    if len(scenes) < 2:
        raise UserError("the branches come from one task: there is none to hold out")
    kinds = np.stack([table.later.mean(1), 1 - table.success.mean(1)], axis=1)
    brings = np.stack([np.bincount(number, one, len(scenes)) for one in kinds.T], axis=1)
    sizes = np.bincount(number, minlength=len(scenes)).astype(float)
    dealt = deal_groups(brings, sizes, min(count, len(scenes)), np.random.default_rng(seed))
    return dealt[number]
