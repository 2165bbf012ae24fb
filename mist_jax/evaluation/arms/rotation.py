"""Random counterparts of steering directions: same lengths, same angles, no meaning."""

import numpy as np

from mist_jax.axes import Float


def rotated(vectors: Float[np.ndarray, "V L D"], seed: int) -> Float[np.ndarray, "V L D"]:
    """All `vectors` turned by one random rotation (or reflection) of the residual stream, float32.

    Every norm and every inner product, also across layers, is kept, so that sums of several
    directions are as long as before. Drawn uniformly: the span's basis is replaced by the first
    columns of the Q factor of a Gaussian matrix (Mezzadri, math-ph/0609050).
    """
    rows = vectors.reshape(-1, vectors.shape[-1]).astype(np.float64)
    _, within = np.linalg.qr(rows.T)  # [rank, V * L]
    drawn = np.random.default_rng(seed).standard_normal((rows.shape[1], len(within)))
    frame, upper = np.linalg.qr(drawn)
    frame = frame * np.sign(np.diag(upper))
    return (frame @ within).T.reshape(vectors.shape).astype(np.float32)
