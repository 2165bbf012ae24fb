"""What a worker is asked for, and what it answers: an episode's order, and one turn of it.

Nothing here needs JAX: these records travel between the driver and the simulator processes.
"""

import dataclasses
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mist_jax.errors import UserError
from mist_jax.record.episode import Episode, EpisodeKey

if TYPE_CHECKING:
    from mist_jax.policy.preprocessing.preprocessor import PolicyInputs, Preprocessor
    from mist_jax.simulator.environment.perturbation import PerturbationSpec

Acting = Literal["policy", "expert"]
ImageRate = Literal["none", "query", "step"]
TaskName = tuple[str, int]  # suite, task id
PROBES = (
    "overlap",
    "variance",
)  # further queries, asked and not executed (rollout/acting/probes.py)


@dataclass(frozen=True, eq=False)  # by identity: a prefix is an array
class EpisodeSpec:
    """One episode to run; its outcome is a function of this and of the policy alone.

    `acting` says whose actions are executed. `images` says at which steps the cameras' pictures are
    kept: never, where the policy was asked, or always. `label` asks for the chunk that the
    expert would execute from every state in which the policy is asked (DAgger); finding out takes
    the simulator there and back, and leaves the episode as it is.

    `prefix` float32 [N, A] in [-1, 1] is what was asked for in the first N steps of an earlier
    episode of the same scene. It is executed again, perturbation included, without pictures; the
    policy is first asked at step N. A policy's episode alone has one, and not with `label`.
    """

    key: EpisodeKey
    acting: Acting = "policy"
    perturbation: "PerturbationSpec | None" = None
    images: ImageRate = "none"
    label: bool = False
    prefix: np.ndarray | None = None

    @property
    def task(self) -> TaskName:
        """Whose scene it is run in."""
        return self.key.suite, self.key.task_id

    @property
    def begins(self) -> int:
        """The control step at which the episode's actor is first asked."""
        return 0 if self.prefix is None else len(self.prefix)

    @property
    def fork(self) -> Hashable:
        """Equal where the state after the prefix is the same; None without a prefix."""
        if self.prefix is None:
            return None
        scene = dataclasses.replace(self.key, arm="")
        return scene, self.perturbation, np.asarray(self.prefix, np.float32).tobytes()


@dataclass(frozen=True)
class WorkerConfig:
    """What all episodes of a run have in common.

    `preprocessor` turns observations into the policy's inputs; None where no policy is asked
    (then the expert acts in every episode). `chunk` is the number of control steps between
    two turns. `model` names what acts, for the record. `between` renders half a chunk after each
    turn as well, for the policy to be asked there (see `rollout/acting/probes.py`).
    """

    assets: Literal["libero", "lite"]
    model: str
    camera_res: int = 256
    render: Literal["exact", "fast"] = "exact"
    min_force: float = 1.0  # N
    chunk: int = 8
    preprocessor: "Preprocessor | None" = None
    between: bool = False


@dataclass(frozen=True)
class Turn:
    """Where an episode stands: it asks the policy (`inputs`), or it has ended (`episode`).

    `step` is the control step about to be taken. A turn at its spec's first one (`begins`) begins
    an episode anew, also when a worker was lost on the way. The pose is the end effector's:
    position [3] in metres and quaternion [4] xyzw in the world frame, finger positions [2] in
    metres. `motion` [A] is the mean of the actions executed since the turn before (or in the last
    chunk of the prefix), zero at the episode's first step. `between` are the policy's inputs half a
    chunk before this turn, where the worker was told to keep them. `instruction` and `max_steps`
    are the task's.
    """

    key: EpisodeKey
    step: int
    inputs: "PolicyInputs | None" = None
    episode: Episode | None = None
    eef_pos: np.ndarray | None = None
    eef_quat: np.ndarray | None = None
    gripper_qpos: np.ndarray | None = None
    motion: np.ndarray | None = None
    between: "PolicyInputs | None" = None
    instruction: str = ""
    max_steps: int = 0


def check_probes(probes: Iterable[str]) -> tuple[str, ...]:
    """The probes, each once, in their order.

    Raises:
        UserError: there is no such probe.
    """
    chosen = tuple(dict.fromkeys(probes))
    unknown = [probe for probe in chosen if probe not in PROBES]
    if unknown:
        raise UserError(f"no probe {unknown[0]!r}: valid ones are {', '.join(PROBES)}")
    return tuple(probe for probe in PROBES if probe in chosen)
