"""Tasks as numbers that mean the same in every table, whatever else it holds."""

import zlib

import numpy as np

from mist_jax.risk.features import Samples


def task_codes(samples: Samples) -> np.ndarray:
    """Int32 [Q]: a code of each query's (suite, task), the same in every table."""
    codes = [_code(*facts.task) for facts in samples.episodes]
    return np.asarray(codes, np.int32)[samples.episode]


def place_of(codes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Int [Q]: the place of each of `codes` among `known` (sorted); len(known) where it is new."""
    at = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[at] == codes, at, len(known))


def one_hot(codes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Float32 [Q, tasks]: a 1 at the place among `known`; all zeros of a task that is new."""
    return np.eye(len(known) + 1, len(known), dtype=np.float32)[place_of(codes, known)]


def _code(suite: str, task_id: int) -> int:
    return int(np.uint32(zlib.crc32(f"{suite}/{task_id}".encode())).astype(np.int32))
