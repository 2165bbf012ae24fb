"""What pushes by one Jacobian do where another one holds, to first order: cheap, to choose by."""

from dataclasses import dataclass

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS, Float

POSE = ACTION_DIMENSIONS.index("gripper")  # the dimensions before it


@dataclass(frozen=True)
class Response:
    """Change of the action [Q, A, A] for a wanted change: `change[q, :, c]` where c was wanted."""

    change: np.ndarray

    @property
    def loss(self) -> float:
        """Mean over states and wanted pose dimensions of |realised - wanted|^2, pose alone."""
        missed = self.change[:, :POSE, :POSE] - np.eye(POSE)
        return float((missed**2).sum(axis=1).mean())

    @property
    def slope(self) -> float:
        """Mean over states and pose dimensions of realised over wanted."""
        return float(np.diagonal(self.change, axis1=1, axis2=2)[:, :POSE].mean())


def responses(
    used: Float[np.ndarray, "Q A S D"], true: Float[np.ndarray, "Q A S D"], dampings: tuple
) -> dict[float, Response]:
    """The response of each state to least pushes by `used` where `true` holds, by damping.

    Damped as `TableMap` and `LinearMap` do: rows of `used` are scaled to norm 1 first.
    """
    count, dims = used.shape[:2]
    rows, truth = (one.reshape(count, dims, -1).astype(np.float32) for one in (used, true))
    norm = np.linalg.norm(rows, axis=-1)
    scale = np.where(norm > 0, 1 / np.where(norm > 0, norm, 1), 0)
    rows = rows * scale[..., None]
    square = np.matmul(rows, rows.swapaxes(1, 2), dtype=np.float64)
    across = np.matmul(truth, rows.swapaxes(1, 2), dtype=np.float64)
    held = np.where(norm > 0, 0.0, 1.0)[..., None]
    found = {}
    for damping in dampings:
        damped = square + (damping + held) * np.eye(dims)
        share = np.linalg.solve(damped, scale[:, :, None] * np.eye(dims))
        found[damping] = Response(across @ share)
    return found
