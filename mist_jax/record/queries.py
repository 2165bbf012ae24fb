"""What every query of the policy gave."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Queries:
    """Per policy query, [Q, ...]; empty where no policy was asked (scripted episodes)."""

    step: np.ndarray  # int32 [Q]: the control step the chunk begins at
    actions: np.ndarray  # float32 [Q, C, A], un-normalised, before the gripper post-processing
    activations: Mapping[str, np.ndarray] = field(default_factory=dict)  # site -> float [Q, L, D]
    layers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # site -> layer of each L
    risk: np.ndarray | None = None  # float32 [Q, A]
    gate: np.ndarray | None = None  # float32 [Q, L]
    edited: np.ndarray | None = None  # bool [Q]: the arm changed the chunk
    latency: np.ndarray | None = None  # float32 [Q], seconds per query
    expert: np.ndarray | None = None  # float32 [Q, C, A]: what the expert would do (DAgger)
    # camera -> Q JPEGs, the steps' images at `step`; empty unless every query has one
    images: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.step)
