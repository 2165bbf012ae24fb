"""What a push does to the executed action, measured on states that it was not made from.

Any operator can be measured: pushes by a Jacobian, directions of a bank, what an extension adds.
A push is causal (docs/definitions.md) where the sign is right on at least 90% of the states, the
realised over the wanted change lies between 0.7 and 1.3, and the cross-talk is below 0.3.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS
from mist_jax.intervention.operator import Operator
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs
from mist_jax.signed import DIMENSION, SIGN

SIZES = (0.1, 0.2, 0.3)  # wanted changes, executed action units per control step
POSE_MOTIONS = tuple(name for name in SIGNED_MOTIONS if not name.startswith("gripper"))
RIGHT, SLOPE, CROSS_TALK = 0.9, (0.7, 1.3), 0.3
ROOM = 0.5  # of the wanted change must be possible before the action is clipped
_GRIPPER = ACTION_DIMENSIONS.index("gripper")

Pushed = Callable[[np.ndarray, np.ndarray], Operator]
"""An operator for one batch: for the states `rows` (int [B]), wanted changes float32 [B, A]."""


@dataclass(frozen=True)
class MotionEffect:
    """How one signed motion follows; all figures over the `count` states that leave it room.

    The sign is `right` where it is so at every size. `slope` is realised over wanted (as much of it
    as the clip of the actions lets through), `cross_talk` the norm of the change of the other pose
    dimensions over the wanted one: of each state the mean over the sizes, then quartiles (25, 50,
    75%); `by_size` is the median slope at each size. `flips` counts states
    whose gripper changed its mind at some step of the chunk. `push` is the median norm of the push
    as a fraction of the activations'.
    """

    motion: str
    right: int
    count: int
    slope: tuple[float, float, float]
    by_size: tuple[float, ...]
    cross_talk: tuple[float, float, float]
    flips: int
    push: float

    @property
    def causal(self) -> bool:
        """Whether the push does what its name says, by the definition of a causal direction."""
        return (
            self.count > 0
            and self.right >= RIGHT * self.count
            and SLOPE[0] <= self.slope[1] <= SLOPE[1]
            and self.cross_talk[1] < CROSS_TALK
        )

    @property
    def reason(self) -> str:
        """What keeps it from being causal; empty where nothing does."""
        if not self.count:
            return "no state had room for it"
        if self.right < RIGHT * self.count:
            return f"sign right in {self.right} of {self.count} states"
        if not SLOPE[0] <= self.slope[1] <= SLOPE[1]:
            return f"realised over wanted {self.slope[1]:.2f}"
        return "" if self.causal else f"cross-talk {self.cross_talk[1]:.2f}"


@dataclass(frozen=True)
class Effects:
    """Measured effects of one kind of push on `states` states; `sizes` in action units."""

    motions: tuple[MotionEffect, ...]
    sizes: tuple[float, ...]
    states: int

    def of(self, motion: str) -> MotionEffect:
        """The effect that was wanted to be `motion`."""
        return next(one for one in self.motions if one.motion == motion)

    @property
    def slope(self) -> float:
        """Mean over the motions of the median realised over wanted change."""
        return _mean([one.slope[1] for one in self.motions if one.count])

    @property
    def cross_talk(self) -> float:
        """Mean over the motions of the median cross-talk."""
        return _mean([one.cross_talk[1] for one in self.motions if one.count])

    @property
    def causal(self) -> tuple[str, ...]:
        """The motions that follow as they should."""
        return tuple(one.motion for one in self.motions if one.causal)

    @property
    def loss(self) -> float:
        """How far from what was wanted, to choose by: (1 - slope)^2 + cross-talk^2, means."""
        return (1 - self.slope) ** 2 + self.cross_talk**2


def measure_effects(
    policy: Policy,
    inputs: Sequence[PolicyInputs],
    pushed: Pushed,
    *,
    motions: Sequence[str] = POSE_MOTIONS,
    sizes: Sequence[float] = SIZES,
    batch_size: int = 32,
) -> Effects:
    """What `pushed` does to the executed actions of `inputs`, one signed motion wanted at a time.

    `pushed(rows, wanted)` gives the operator for one batch: `rows` int [B] are places in `inputs`,
    `wanted` float32 [B, A] the change in executed action units per control step. A direction that
    leads away from harm "x+" is wanted to do "x-" (`opposite`). Every batch has `batch_size` rows,
    so the forward is traced once for each length of prompt.
    """
    before, free = executed(policy, inputs, batch_size)
    shape = len(inputs), len(motions), len(sizes)
    state, motion, size = (one.reshape(-1) for one in np.indices(shape))
    places = [SIGNED_MOTIONS.index(name) for name in motions]
    pairs, at = np.arange(len(state)), DIMENSION[places][motion]
    wanted = np.zeros((len(state), len(ACTION_DIMENSIONS)), np.float32)
    wanted[pairs, at] = SIGN[places][motion] * np.asarray(sizes)[size]
    after, norm = np.zeros((len(state), *before.shape[1:]), np.float32), np.zeros(len(state))
    for rows in batches(policy, [inputs[row] for row in state], batch_size):
        said = policy.predict_inputs(
            [inputs[row] for row in state[rows]], steering=pushed(state[rows], wanted[rows])
        )
        after[rows], norm[rows] = said.actions, said.gate.sum(axis=-1)
    alone = before[state]
    change = (after - alone).mean(axis=1, dtype=np.float64)
    possible = (np.clip(free[state] + wanted[:, None], -1, 1) - alone).mean(axis=1)[pairs, at]
    room = possible / wanted[pairs, at] >= ROOM
    possible = np.where(room, possible, np.nan)
    others = change.copy()
    others[pairs, at] = others[:, _GRIPPER] = 0
    turned = (np.sign(after[..., _GRIPPER]) != np.sign(alone[..., _GRIPPER])).any(axis=1)
    slope = (change[pairs, at] / possible).reshape(shape)
    talk = (np.linalg.norm(others, axis=1) / np.abs(possible)).reshape(shape)
    turned, norm = (np.where(room, one, np.nan).reshape(shape) for one in (turned, norm))
    found = [
        _effect(name, slope[:, i], talk[:, i], turned[:, i], norm[:, i])
        for i, name in enumerate(motions)
    ]
    return Effects(tuple(found), tuple(float(one) for one in sizes), len(inputs))


def _effect(
    name: str, slope: np.ndarray, talk: np.ndarray, turned: np.ndarray, norm: np.ndarray
) -> MotionEffect:
    """Of one motion, from [Q, sizes] with nan where a state had no room for a size."""
    there = ~np.isnan(slope).all(axis=1)
    slope, talk, turned, norm = (one[there] for one in (slope, talk, turned, norm))
    known = ~np.isnan(slope)
    return MotionEffect(
        motion=name,
        right=int(((slope > 0) | ~known).all(axis=1).sum()),
        count=len(slope),
        slope=_quartiles(np.nanmean(slope, axis=1)) if len(slope) else (0.0, 0.0, 0.0),
        by_size=tuple(
            float(np.median(column[ok])) if ok.any() else 0.0
            for column, ok in zip(slope.T, known.T, strict=True)
        ),
        cross_talk=_quartiles(np.nanmean(talk, axis=1)) if len(slope) else (0.0, 0.0, 0.0),
        flips=int((turned == 1).any(axis=1).sum()),
        push=float(np.median(norm[known])) if known.any() else 0.0,
    )


def executed(
    policy: Policy, inputs: Sequence[PolicyInputs], batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Float32 [Q, C, A] twice: the policy's own actions as executed, and the same before the clip.

    The gripper's are binary in both.
    """
    shape = len(inputs), policy.model.chunk, policy.model.action_dim
    actions, free = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for rows in batches(policy, inputs, batch_size):
        said = policy.predict_inputs([inputs[row] for row in rows])
        actions[rows], free[rows] = said.actions, said.raw_actions
    free[..., _GRIPPER] = actions[..., _GRIPPER]
    return actions, free


def opposite(motion: str) -> str:
    """The signed motion the other way: "x-" of "x+"."""
    return motion[:-1] + ("-" if motion.endswith("+") else "+")


def batches(
    policy: Policy, inputs: Sequence[PolicyInputs], batch_size: int
) -> Iterator[np.ndarray]:
    """Indices int [batch_size] that go over `inputs` once; the last of a kind repeats its own.

    Inputs of one batch are padded alike, so that a forward is traced once for each padded length.
    """
    shapes: dict[int, tuple] = {}
    groups: dict[tuple, list[int]] = {}
    for place, one in enumerate(inputs):
        length = len(one.token_ids)
        if length not in shapes:
            alone = policy.model.collate([one], [0])
            shapes[length] = tuple(leaf.shape for leaf in jax.tree.leaves(alone))
        groups.setdefault(shapes[length], []).append(place)
    for places in groups.values():
        for first in range(0, len(places), batch_size):
            rows = places[first : first + batch_size]
            yield np.asarray(rows + rows[:1] * (batch_size - len(rows)))


def _quartiles(values: np.ndarray) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return low, middle, high


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
