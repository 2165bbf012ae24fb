"""What can be read of a query from outside the model: features float32 [Q, F] of the table."""

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.risk.features import Samples

WINDOW = 4  # queries over which reversals are counted
STILL = 0.05  # of a command in [-1, 1]: less is no motion; 2.5 mm
TRANSLATION = slice(0, 3)


def clock(samples: Samples) -> np.ndarray:
    """The step index alone, [Q, 1]."""
    return samples.step.astype(np.float32)[:, None]


def state(samples: Samples) -> np.ndarray:
    """End-effector position and orientation, and finger positions, [Q, 9]."""
    return samples.state


def action(samples: Samples) -> np.ndarray:
    """The planned chunk alone, [Q, C * A]."""
    return samples.action


def around(samples: Samples) -> np.ndarray:
    """State, planned chunk and the mean action executed since the query before, side by side."""
    return np.concatenate([samples.state, samples.action, samples.motion], axis=1)


def since_contact(samples: Samples) -> np.ndarray:
    """How long ago the last harmful contact was, [Q, 4].

    Whether there was one, and how much of it is left after 8, 32 and 128 steps: exp(-steps / 8),
    and so on. For first events there is nothing to read: what they are asked about has not had one.
    """
    steps = samples.since_contact
    left = [np.exp(-steps / scale) for scale in (8.0, 32.0, 128.0)]
    return np.stack([np.isfinite(steps), *left], axis=1).astype(np.float32)


def reversals(samples: Samples) -> np.ndarray:
    """How often the commanded translation turned round lately, [Q, 4]: of x, y, z and their mean.

    The commands are the planned chunks of the last four queries of the episode, this one included,
    one after the other. A dimension turns round between two successive commands where their signs
    differ and both are larger than 0.05; the rate is the share of such pairs among all pairs. One
    of the cues from actions alone of ActProbe (arXiv 2606.08508).
    """
    dims = len(ACTION_DIMENSIONS)
    chunk = samples.action.reshape(len(samples), -1, dims)[..., TRANSLATION]  # [Q, C, 3]
    place = np.arange(len(samples)) - np.searchsorted(samples.episode, samples.episode)
    turns = np.zeros((len(samples), 3))
    pairs = np.zeros(len(samples))
    rows = np.arange(len(samples))
    for back in range(WINDOW):
        here = back <= place
        at = np.maximum(rows - back, 0)
        turns += np.where(here[:, None], _turns(chunk[at, :-1], chunk[at, 1:]).sum(axis=1), 0)
        pairs += here * (chunk.shape[1] - 1)
        joined = here & (back + 1 <= place) & (back + 1 < WINDOW)
        before = np.maximum(at - 1, 0)
        turns += np.where(joined[:, None], _turns(chunk[before, -1], chunk[at, 0]), 0)
        pairs += joined
    rate = turns / np.maximum(pairs, 1)[:, None]
    return np.concatenate([rate, rate.mean(axis=1, keepdims=True)], axis=1).astype(np.float32)


def _turns(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    """bool: the signs of two successive commands differ and neither is still."""
    moves = (np.abs(earlier) > STILL) & (np.abs(later) > STILL)
    return moves & (np.sign(earlier) != np.sign(later))
