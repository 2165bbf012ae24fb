"""How alike two sets of activations are, whatever their axes: linear centred kernel alignment."""

import numpy as np

from mist_jax.errors import UserError

FEWEST = 4  # samples that the unbiased estimate needs


def linear_cka(
    x: np.ndarray,
    y: np.ndarray,
    *,
    debiased: bool = True,
) -> float:
    """Linear CKA of two representations of the same samples: 1 where one is the other, rotated.

    Kornblith et al. (2019, arXiv 1905.00414): |X^T Y|_F^2 / (|X^T X|_F |Y^T Y|_F) of centred
    features. That is close to 1 for anything, noise too, where features outnumber samples; the
    debiased one (default) takes the unbiased HSIC of Song et al. (2012) for each of the three: 0 on
    average where there is nothing in common, and at times below.

    Raises:
        UserError: other numbers of samples, too few of them, values that are not finite, or a
            representation that is the same for every sample.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise UserError(
            "CKA needs two tables [samples, features] of the same samples, not "
            f"{x.shape} and {y.shape}"
        )
    if len(x) < FEWEST:
        raise UserError(f"CKA needs at least {FEWEST} samples, not {len(x)}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("CKA needs activations that are finite")
    centred = [part - part.mean(0) for part in (x, y)]
    for part, whole in zip(centred, (x, y), strict=True):
        if np.square(part).sum() <= 1e-24 * np.square(whole).sum():
            raise UserError("CKA needs representations that differ between samples")
    grams = [part @ part.T for part in centred]
    measure = _unbiased if debiased else _biased
    cross, *own = (measure(a, b) for a, b in ((*grams,), (grams[0],) * 2, (grams[1],) * 2))
    scale = np.sqrt(max(own[0], 0.0) * max(own[1], 0.0))
    return float(cross / scale) if scale > 0 else 0.0


def _biased(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum())


def _unbiased(a: np.ndarray, b: np.ndarray) -> float:
    """Song et al. (2012), equation 5, up to the factor 1 / (n (n - 3)) that cancels."""
    n = len(a)
    a, b = (gram - np.diag(np.diag(gram)) for gram in (a, b))
    rows = a.sum(0) @ b.sum(0)
    return float((a * b).sum() + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 * rows / (n - 2))
