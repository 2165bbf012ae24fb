"""What the episodes of one evaluation have in common, and what makes them comparable."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import jax
import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS
from mist_jax.episodes.dataset_info import DatasetInfo, Site
from mist_jax.errors import UserError
from mist_jax.ids import parse_ids
from mist_jax.policy.checkpoint import PolicyCard
from mist_jax.record.contact import DEFAULT_HORIZON, DEFAULT_SHARE
from mist_jax.record.episode import EpisodeKey
from mist_jax.risk.study.checkpoint import from_optional
from mist_jax.simulator.variation.levels import plain_suite

MOST_STATES = 10_000  # above every index of an initial state, sampled ones too
_OFF = (None,) * len(SIGNED_MOTIONS)
# What a dataset describes by itself; all else of a setup is kept in its `setup`.
_OF_THE_DATASET = (
    "model",
    "assets",
    "min_force",
    "camera_res",
    "perturbation",
    "batch_size",
    "dtype",
    "commands",
    "code_versions",
)


@dataclass(frozen=True)
class RunSetup:
    """Everything beside the key that an episode's result depends on, and how it is judged.

    Attributes:
        model: name and digest of the policy.
        assets: `libero` or `lite`.
        risk_head: digest of the risk head, "" for none; `causal_bank`, `steering_vectors`
            and `conceptors` likewise.
        intent: of the causal bank's, what is wanted at an alarm; `push`: the form of its map.
        coefficient: size of a wanted change in metres commanded over a chunk, for x, y and z.
        rotation_coefficient: the same in radians, for roll, pitch and yaw.
        brake: share of the policy's own motion against a wanted change that is taken away too;
            `halt` that of its motion across it.
        release: alarms in a row after which a push lets go until they are over; 0 never.
        hold: share of its threshold that a motion's risk must fall to for its alarm to end.
        method: which of the steering vectors push.
        replay_from: hash of the evaluation whose changes are replayed, "" for none; `oracle_from`
            likewise of the unsteered episodes that an oracle knows.
        threshold: [M], the calibrated risk above which a signed motion alarms; None never does.
        equivalence_margin: difference of rates below which arms count as equal, stated in advance.
        horizon: steps within which an alarm must come true.
        share: part of a contact's approach from which a dimension counts as driving it.
        min_force: newtons from which a contact counts.
        perturbation: what disturbs every episode, alike for the arms of a pair, as in the dataset.
        batch_size: queries that one compiled call of the policy answers.
        dtype: what the policy computes in: float32, bfloat16 or float8.
        policy_scenes: suites and initial states that the policy was trained on, such as
            "libero_spatial/0-29"; None where its card does not say.
        trained_on: scenes, as "suite/task/state", or instructions that the risk head has seen; None
            without a head.
        preregistration: the whole of the study's, with its digest, as it is stored; None where none
            was registered.
        commands: as typed, of every run that filled the folder; `code_versions` of mist_jax.
    """

    model: str
    assets: str
    risk_head: str = ""
    causal_bank: str = ""
    intent: str = ""
    push: str = ""
    coefficient: float = 0.0
    rotation_coefficient: float = 0.0
    brake: float = 0.0
    halt: float = 0.0
    release: int = 0
    hold: float = 1.0
    steering_vectors: str = ""
    conceptors: str = ""
    method: str = ""
    replay_from: str = ""
    oracle_from: str = ""
    threshold: tuple[float | None, ...] = _OFF
    equivalence_margin: float = 0.05
    horizon: int = DEFAULT_HORIZON
    share: float = DEFAULT_SHARE
    min_force: float = 1.0
    camera_res: int = 256
    render: str = "exact"
    perturbation: str = "none"
    batch_size: int = 1
    dtype: str = ""
    policy_scenes: tuple[str, ...] | None = None
    trained_on: tuple[str, ...] | None = None
    preregistration: Mapping[str, Any] | None = None
    commands: tuple[str, ...] = ()
    code_versions: tuple[str, ...] = ()

    @property
    def alarm_threshold(self) -> np.ndarray:
        """Float32 [M]; inf where no alarm is ever raised."""
        return from_optional(self.threshold).astype(np.float32)

    def seen_in_training(self, key: EpisodeKey, instruction: str) -> bool | None:
        """Whether the risk head has seen the episode's placement or task; None without one."""
        if self.trained_on is None:
            return None
        scene = f"{plain_suite(key.suite)}/{key.task_id}/{key.initial_state}"
        return scene in self.trained_on or instruction in self.trained_on

    def policy_saw(self, suite: str, initial_state: int) -> bool | None:
        """Whether the policy was trained on such a placement, varied or not; None: nobody knows."""
        if self.policy_scenes is None:
            return None
        states = dict(scene.split("/", 1) for scene in self.policy_scenes)
        plain = plain_suite(suite)
        return plain in states and initial_state in parse_ids(
            states[plain], MOST_STATES, "initial state"
        )

    def dataset_info(self, suite: str, chunk: int, sites: Mapping[str, Site]) -> DatasetInfo:
        """The description of the episodes that a run with this setup stores."""
        values = dataclasses.asdict(self)
        own = {name: values.pop(name) for name in _OF_THE_DATASET}
        return DatasetInfo(
            **own, suites=(suite,), sites=sites, chunk=chunk, kind="evaluation", setup=values
        )

    @classmethod
    def of(cls, info: DatasetInfo) -> Self:
        """The setup of the episodes that `info` describes; a collection's has no arms.

        Raises:
            UserError: the dataset is of another version.
        """
        stored: dict[str, Any] = {
            n: tuple(v) if isinstance(v, list) else v for n, v in info.setup.items()
        }
        try:
            return cls(**stored, **{name: getattr(info, name) for name in _OF_THE_DATASET})
        except TypeError as error:
            raise UserError(
                f"the evaluation is of another version ({error}); run it again"
            ) from None


def trained_scenes(card: PolicyCard) -> tuple[str, ...] | None:
    """`RunSetup.policy_scenes` from a policy's card.

    Raises:
        UserError: the card's `trained_scenes` are not initial states by suite.
    """
    found = card.provenance.get("trained_scenes")
    if found is None:
        return None
    if not isinstance(found, Mapping) or not all(isinstance(v, str) for v in found.values()):
        raise UserError(
            f"the card of {card.identity}: trained_scenes must be initial states by suite, such as "
            '{"libero_spatial": "0-29"}'
        )
    for states in found.values():
        parse_ids(states, MOST_STATES, "initial state")
    return tuple(f"{suite}/{states}" for suite, states in found.items() if states)


def per_motion(values: Sequence[str], what: str, *, most: float) -> np.ndarray:
    """Float [M] from one number for all, one for each dimension, or one for each way, as typed.

    Raises:
        UserError: it is something else, or a number is outside [0, `most`].
    """
    dims, motions = len(ACTION_DIMENSIONS), len(SIGNED_MOTIONS)
    try:
        numbers = np.asarray([float(value) for value in values])
    except ValueError:
        numbers = np.zeros(0)
    fits = len(numbers) in (1, dims, motions) and np.all((numbers >= 0) & (numbers <= most))
    if not fits:
        raise UserError(
            f"{what}={','.join(values)}: give one number from 0 to {most:g}, {dims} of them "
            f"({', '.join(ACTION_DIMENSIONS)}) or {motions} ({SIGNED_MOTIONS[0]}, "
            f"{SIGNED_MOTIONS[1]}, {SIGNED_MOTIONS[2]}, ...)"
        )
    both_ways = np.repeat(numbers, 2) if len(numbers) == dims else numbers
    return np.broadcast_to(both_ways, (motions,)).copy()


def digest(tree: Any) -> str:
    """Twelve hex digits of the SHA-256 of a pytree's arrays."""
    hashed = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = np.asarray(leaf)
        hashed.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()[:12]
