"""The conceptor of one cloud of states, and of one cloud without another. numpy, float64.

Jaeger, Controlling recurrent neural networks by conceptors (arXiv 1403.3369), section 3.
"""

from dataclasses import dataclass

import numpy as np

_NOTHING = 1e-12  # eigenvalues below this share of the largest are rounding


@dataclass(frozen=True)
class SoftProjection:
    """C = basis diag(kept) basis^T: symmetric, eigenvalues `kept` in [0, 1), falling.

    `basis` is float64 [D, rank] with orthonormal columns, `kept` [rank]; outside of them C is zero.
    """

    basis: np.ndarray
    kept: np.ndarray

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """C applied to each of `rows` [Q, D]."""
        return ((rows @ self.basis) * self.kept) @ self.basis.T

    @property
    def quota(self) -> float:
        """Mean eigenvalue over all D dimensions: 0 takes everything away, 1 leaves it."""
        return float(self.kept.sum() / len(self.basis))


def conceptor(
    rows: np.ndarray, aperture: float, rank: int, without: np.ndarray | None = None
) -> SoftProjection:
    """C = R (R + aperture^-2 I)^-1 of `rows` [Q, D], R = rows^T rows; its `rank` largest parts.

    Rows carry their weight: for the mean over Q equal states, they come divided by sqrt(Q).
    `without`, rows of another cloud with correlation S, gives `C(R) and not C(S)`. By Jaeger's
    C and B = (C^-1 + B^-1 - I)^-1, with not B = I - B and the same aperture, that is

        (I + aperture^-2 R^-1 + aperture^2 S)^-1   on the range of R, zero off it.
    """
    axes, strength = _spectrum(rows)
    middle = np.diag(strength + aperture**-2)
    root = np.sqrt(strength)
    if without is not None:
        across = without @ axes
        middle += aperture**2 * root[:, None] * (across.T @ across) * root
    # root (R + a^-2 + a^2 root S root)^-1 root: R's inverse is never taken
    inner = root[:, None] * np.linalg.solve(middle, np.diag(root))
    kept, turn = np.linalg.eigh((inner + inner.T) / 2)
    first = np.argsort(-kept, kind="stable")[:rank]
    return SoftProjection(axes @ turn[:, first], np.clip(kept[first], 0.0, 1.0))


def _spectrum(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvectors [D, rank] and eigenvalues [rank] of rows^T rows on its range."""
    rows = np.asarray(rows, np.float64)
    if len(rows) < rows.shape[1]:
        _, singular, axes = np.linalg.svd(rows, full_matrices=False)
        axes, strength = axes.T, singular**2
    else:
        strength, axes = np.linalg.eigh(rows.T @ rows)
    there = strength > _NOTHING * strength.max(initial=0.0)
    return axes[:, there], strength[there]
