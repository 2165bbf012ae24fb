"""Which rows of the table a minibatch holds: single queries, or whole padded episodes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PaddedRows:
    """Rows that belong together: single queries (length 1), or an episode's, padded."""

    rows: np.ndarray  # int32 [B, Q], rows of the table; 0 where padded
    here: np.ndarray  # bool [B, Q]

    @classmethod
    def queries(cls, count: int) -> "PaddedRows":
        """Each query by itself."""
        rows = np.arange(count, dtype=np.int32)[:, None]
        return cls(rows, np.ones_like(rows, bool))

    @classmethod
    def episodes(cls, episode: np.ndarray) -> "PaddedRows":
        """The queries of each episode, which stand together in time's order; `episode` int [Q]."""
        _, first, length = np.unique(episode, return_index=True, return_counts=True)
        column = np.arange(length.max(initial=1))
        here = column < length[:, None]
        return cls(np.where(here, first[:, None] + column, 0).astype(np.int32), here)

    def within(self, wanted: np.ndarray) -> np.ndarray:
        """Int: the sequences that hold any of the rows `wanted` (bool [Q])."""
        return np.flatnonzero((wanted[self.rows] & self.here).any(axis=1))


def blocks(members: Sequence[np.ndarray], batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of each of `members` in blocks of `batch`, int32 [K, blocks, batch], and presence."""
    count = max(1, -(-max(len(rows) for rows in members) // batch))
    order = np.zeros((len(members), count * batch), np.int32)
    present = np.zeros(order.shape, bool)
    for member, rows in enumerate(members):
        order[member, : len(rows)] = rows
        present[member, : len(rows)] = True
    shape = (len(members), count, batch)
    return order.reshape(shape), present.reshape(shape)


def shuffled(
    members: Sequence[np.ndarray], batch: int, epochs: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Like `blocks`, in fresh order in each epoch: [K, epochs, blocks, batch]."""
    order, present = blocks(members, batch)
    flat, here = (part.reshape(len(members), -1) for part in (order, present))
    # Presence is shuffled along, so that every batch of a small member holds some of its rows.
    at = np.stack([rng.permutation(flat.shape[1]) for _ in range(epochs)])
    shape = (len(members), epochs, *order.shape[1:])
    return flat[:, at].reshape(shape), here[:, at].reshape(shape)
