"""What the policy is about to command, as a linear function of what the activations say."""

import numpy as np

from mist_jax.axes import Float
from mist_jax.counterfactual.fitting.components import principal_components
from mist_jax.policy.preprocessing.gripper import gripper_for_environment

RIDGE = 0.1


def commanded(raw_actions: Float[np.ndarray, "Q C A"]) -> Float[np.ndarray, "Q A"]:
    """The mean executed action of each chunk as the policy said it, float32."""
    return np.clip(gripper_for_environment(raw_actions), -1.0, 1.0).mean(axis=1, dtype=np.float32)


def regress_motion(
    motion: Float[np.ndarray, "Q A"], z: Float[np.ndarray, "Q k"], ridge: float = RIDGE
) -> Float[np.ndarray, "terms A"]:
    """The mean and one row per number of z [Q, k] (mean 0, variance 1), by ridge regression."""
    mean = motion.mean(axis=0, dtype=np.float64)
    square = z.T @ z / len(z) + ridge * np.eye(z.shape[1])
    slopes = np.linalg.solve(square, z.T @ (motion - mean) / len(z))
    return np.concatenate([mean[None], slopes]).astype(np.float32)


def explained(
    motion: np.ndarray, features: np.ndarray, fit: np.ndarray, held_out: np.ndarray, kept: int
) -> tuple[float, ...]:
    """R^2 of each dimension on states `held_out` (bool [Q]) of what is fitted to states `fit`.

    nan where a dimension does not vary there.
    """
    z = principal_components(features[fit], kept)
    terms = regress_motion(motion[fit], z(features[fit]))
    truth = motion[held_out]
    wrong = ((truth - terms[0] - z(features[held_out]) @ terms[1:]) ** 2).sum(axis=0)
    spread = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(spread > 0, 1 - wrong / spread, np.nan)
    return tuple(r2.tolist())
