"""What one episode is: the record every part of mist_jax writes or reads.

A simulator worker fills the steps and contacts, the driver adds the policy's queries, the dataset
stores all of it, and labels, reports and training read it back. Arrays are numpy, time is first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

Outcome = Literal["success", "failure", "crashed"]
OUTCOMES: tuple[str, ...] = get_args(Outcome)


@dataclass(frozen=True, order=True)
class EpisodeKey:
    """Names one episode; deterministic parts with equal keys give equal episodes."""

    suite: str
    task_id: int
    initial_state: int
    seed: int
    arm: str = "none"

    def __str__(self) -> str:
        return (
            f"{self.suite}/task{self.task_id}/state{self.initial_state}/seed{self.seed}/{self.arm}"
        )


@dataclass(frozen=True)
class Contact:
    """One pair of bodies in contact during one control step, reduced over its physics substeps.

    `robot_body` is the robot link, or the grasped object's body; `obstacle_body` the other one.
    Positions are metres in the world frame; `normal` is a unit vector pointing from the obstacle to
    the robot side. `share`, `velocity`, `motion` and `residual` are the attribution of DESIGN
    section 5, filled at onset and zero elsewhere: `velocity` is each dimension's approach to the
    obstacle, `motion` how it moved at all, so that its sign tells -x from +x (the gripper's is
    positive closing).
    """

    step: int
    robot_body: str
    obstacle_body: str
    grasped: bool
    harmful: bool
    onset: bool
    peak_force: float  # N
    impulse: float  # N s
    position: np.ndarray  # [3]
    normal: np.ndarray  # [3]
    share: np.ndarray  # [A]
    velocity: np.ndarray  # [A], m/s, positive toward the obstacle
    motion: np.ndarray  # [A], m/s, rad/s, and m/s of the touching finger
    residual: float  # m/s


@dataclass(frozen=True)
class Steps:
    """Per control step, [N, ...]: the state is the one *before* the action of that step.

    `commanded` is what the policy (or arm) asked for, `action` what was executed (they differ where
    a perturbation acted), both [N, A] in [-1, 1]. `displacement` [N, O] is each object's distance
    in metres from where it stood at the episode's start, *after* the step; `object_pose` [N, O, 7]
    is position and quaternion wxyz before it.
    """

    action: np.ndarray  # float32 [N, A]
    commanded: np.ndarray  # float32 [N, A]
    perturbed: np.ndarray  # bool [N]
    reward: np.ndarray  # float32 [N]
    eef_pos: np.ndarray  # float32 [N, 3], m, world
    eef_quat: np.ndarray  # float32 [N, 4], xyzw
    gripper_qpos: np.ndarray  # float32 [N, 2], m
    joint_pos: np.ndarray  # float32 [N, 7], rad
    object_pose: np.ndarray  # float32 [N, O, 7]
    displacement: np.ndarray  # float32 [N, O], m
    grasped: np.ndarray  # int32 [N], index into object_names, -1 for none
    # camera -> N JPEGs, b"" where none was kept; a camera of which none was kept is left out
    images: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.action)


@dataclass(frozen=True)
class Queries:
    """Per policy query, [Q, ...]; empty where no policy was asked (scripted episodes)."""

    step: np.ndarray  # int32 [Q]: the control step the chunk begins at
    actions: np.ndarray  # float32 [Q, C, A], un-normalised, before the gripper post-processing
    activations: Mapping[str, np.ndarray] = field(default_factory=dict)  # site -> float [Q, L, D]
    layers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # site -> layer of each L
    risk: np.ndarray | None = None  # float32 [Q, A]
    gate: np.ndarray | None = None  # float32 [Q, L]
    latency: np.ndarray | None = None  # float32 [Q], seconds per query
    expert: np.ndarray | None = None  # float32 [Q, C, A]: what the expert would do (DAgger)
    # camera -> Q JPEGs, the steps' images at `step`; empty unless every query has one
    images: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True)
class Episode:
    """One finished episode, successful, failed or crashed."""

    key: EpisodeKey
    instruction: str
    outcome: Outcome
    max_steps: int
    assets: str  # "libero" or "lite"
    model: str  # name and hash of what acted: a policy, or "expert"
    perturbation: str  # "none", or the kind with its parameters
    object_names: tuple[str, ...]
    steps: Steps
    contacts: tuple[Contact, ...]
    queries: Queries
    surplus: bool = False  # beyond the quota of its outcome; kept and marked
    error: str = ""  # the exception of a crashed episode

    @property
    def harmful_onsets(self) -> tuple[Contact, ...]:
        """The contacts at which a harmful contact begins."""
        return tuple(c for c in self.contacts if c.harmful and c.onset)

    @property
    def safe_success(self) -> bool:
        """Success with no harmful contact (DESIGN section 5)."""
        return self.outcome == "success" and not any(c.harmful for c in self.contacts)
