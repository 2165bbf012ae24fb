"""The table form: Jacobians averaged per instruction and phase of the episode."""

from collections.abc import Sequence

import numpy as np

from mist_jax.axes import Float


def phase_edges(progress: np.ndarray, phases: int) -> tuple[float, ...]:
    """Where an episode is divided, as shares of its longest time: phases with equally many states.

    Episodes that succeed end long before their time does: even parts of it would leave the last
    ones empty.
    """
    return tuple(np.quantile(progress, np.arange(1, phases) / phases).tolist())


def average_jacobians(
    jacobians: Float[np.ndarray, "Q A S D"],
    instruction: np.ndarray,
    progress: np.ndarray,
    instructions: Sequence[str],
    edges: Sequence[float],
    prior: float,
) -> Float[np.ndarray, "rows A S D"]:
    """Float32: a row for each of `instructions` (of `instruction` [Q]) and phase, row-major, then
    one of each phase for any other instruction.

    A cell's mean is drawn to its phase's as if that were `prior` more states of it; a phase without
    states has the mean of all.
    """
    phase = np.searchsorted(np.asarray(edges), progress, side="right")
    phases = len(edges) + 1
    total = jacobians.mean(axis=0, dtype=np.float64)
    table = np.zeros((len(instructions) + 1, phases, *total.shape), np.float32)
    for column in range(phases):
        here = phase == column
        of_phase = jacobians[here].mean(axis=0, dtype=np.float64) if here.any() else total
        table[-1, column] = of_phase
        for row, text in enumerate(instructions):
            cell = jacobians[here & (instruction == text)]
            weight = len(cell) + prior
            table[row, column] = (
                (cell.sum(axis=0, dtype=np.float64) + prior * of_phase) / weight
                if weight
                else of_phase
            )
    return table.reshape(-1, *total.shape)
