"""The covariance of the pushed tokens' activations, as a factor to draw noise by."""

import numpy as np

from mist_jax.axes import Float

RANK = 32


def covariance_factor(
    activations: Float[np.ndarray, "Q S D"], rank: int = RANK
) -> Float[np.ndarray, "rank S D"]:
    """Float32 C with C^T C the covariance over S x D together, of its `rank` largest directions.

    Tokens of one state vary together; noise drawn token by token would cancel out in the mean.
    """
    rows = activations.reshape(len(activations), -1)
    centred = (rows - rows.mean(axis=0, dtype=np.float64)).astype(np.float64)
    value, vector = np.linalg.eigh(centred @ centred.T / len(rows))  # Q is smaller than S * D
    best = np.argsort(-value)[:rank]
    # Row r is sqrt(value_r) times the unit direction centred.T v_r / sqrt(Q value_r).
    factor = vector[:, best].T @ centred / np.sqrt(len(rows))
    return factor.astype(np.float32).reshape(-1, *activations.shape[1:])
