"""What every query of the policy gave."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mist_jax.record.column import column


@dataclass(frozen=True)
class Queries:
    """Per policy query, [Q, ...]; empty where no policy was asked (scripted episodes).

    `raw_actions` is what the policy said: un-normalised, before the gripper post-processing and
    before any arm's edit. `edited` marks the queries after which the arm changed that. `risk` is of
    signed motions: `mist_jax.signed.either_way` of it is that of their dimensions. `wanted` and
    `realised` are changes of the executed action, per control step in its units; realised after the
    clip to [-1, 1] and the arm's edit.
    """

    step: np.ndarray = field(metadata=column(np.int32, doc="control step the chunk begins at"))
    raw_actions: np.ndarray = field(
        metadata=column(
            np.float32, "C", "A", doc="un-normalised, before the gripper post-processing"
        )
    )
    activations: Mapping[str, np.ndarray] = field(default_factory=dict)  # site -> float [Q, L, D]
    layers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # site -> layer of each L
    risk: np.ndarray | None = field(
        default=None,
        metadata=column(
            np.float32,
            "M",
            optional=True,
            doc="calibrated probability of each signed motion: x+, x-, y+, ...",
        ),
    )
    gate: np.ndarray | None = field(
        default=None,
        metadata=column(
            np.float32, "L", optional=True, doc="norm added by steering over the stream's"
        ),
    )
    wanted: np.ndarray | None = field(
        default=None,
        metadata=column(
            np.float32,
            "A",
            optional=True,
            doc="change of the action that a push wanted, units a step, acting or told only",
        ),
    )
    realised: np.ndarray | None = field(
        default=None,
        metadata=column(
            np.float32,
            "A",
            optional=True,
            doc="executed minus unsteered action for the same inputs, mean over the chunk",
        ),
    )
    latency: np.ndarray | None = field(
        default=None, metadata=column(np.float32, optional=True, doc="s, of the query's batch")
    )
    expert: np.ndarray | None = field(
        default=None,
        metadata=column(
            np.float32, "C", "A", optional=True, doc="what the expert would do (DAgger)"
        ),
    )
    edited: np.ndarray | None = field(
        default=None,
        metadata=column(
            np.bool_,
            optional=True,
            doc="the arm changed what the policy said, after the forward",
        ),
    )
    overlap: np.ndarray | None = field(
        default=None,
        metadata=column(
            np.float32,
            "C",
            "A",
            optional=True,
            doc="what the policy said half a chunk before, not executed; NaN at the first query",
        ),
    )
    spread: np.ndarray | None = field(
        default=None,
        metadata=column(
            np.float32,
            "A",
            optional=True,
            doc="standard deviation of the chunk's first action over perturbed pictures",
        ),
    )
    # camera -> Q JPEGs, the steps' images at `step`; empty unless every query has one
    images: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.step)
