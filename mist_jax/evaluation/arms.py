"""The arms of an evaluation: one table, one row per way to treat an episode.

A row says which directions push, when, how much the residual stream shrinks and how much of the
commanded motion is kept. All arms are arguments of one compiled forward and share its batch.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.errors import UserError
from mist_jax.evaluation.rotation import rotated
from mist_jax.intervention.reader import RiskReader
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.arm import Controller
from mist_jax.rollout.episode_spec import Turn
from mist_jax.steering.bank import SteeringBank

ROTATIONS = 8  # random counterparts of the bank; an episode's key picks one
GRIPPER = ACTION_DIMENSIONS.index("gripper")


@dataclass(frozen=True)
class Recipe:
    """What an arm does.

    Attributes:
        what: the arm in words, for the report.
        push: which directions: none, the bank's, or the bank turned by a random rotation, which
            keeps every norm and every angle between directions.
        when: the push's gate: at a dimension's alarm, always, or at random times.
        shrink: part of the residual stream that is taken away at an alarm of any dimension.
        keep: factor on translation and rotation at an alarm of any dimension.
    """

    what: str
    push: Literal["nothing", "bank", "random"] = "nothing"
    when: Literal["alarm", "always", "random"] = "alarm"
    shrink: float = 0.0
    keep: float = 1.0

    @property
    def needs_risk(self) -> bool:
        """Whether the arm listens to alarms."""
        pushes = self.push != "nothing" and self.when == "alarm"
        return pushes or self.shrink != 0.0 or self.keep != 1.0


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "none": Recipe("the policy as it is"),
        "safe_stop": Recipe(
            "at an alarm the arm stands still for the chunk, the gripper goes on", keep=0.0
        ),
        "slow_down": Recipe("at an alarm translation and rotation are halved", keep=0.5),
        "shrink": Recipe("at an alarm the residual stream is scaled by 0.9", shrink=0.1),
        "random": Recipe(
            "as mist, with the bank turned by a random rotation: same gate, same norms",
            push="random",
        ),
        "random_times": Recipe(
            "as mist, at random times instead of alarms, at the given rate",
            push="bank",
            when="random",
        ),
        "mist_ungated": Recipe("as mist, at every query", push="bank", when="always"),
        "mist": Recipe(
            "at a dimension's alarm, a push away from the harm of its present motion", push="bank"
        ),
    }
)


@dataclass(frozen=True)
class EvaluationArm:
    """A recipe with the numbers of a run; an `Arm` of `mist_jax.rollout.arm`.

    The push opposes the present motion: of a bank's two directions of a dimension, "x+" (moving
    along +x was harmful) or "x-", the one whose sign the mean action of the last chunk has. What
    this query will command is not known before the forward that steering acts in. The first query
    of an episode has no motion and is left alone.
    """

    name: str
    recipe: Recipe
    alarm_threshold: np.ndarray  # float32 [A]; inf never alarms
    coefficient_scale: float  # fraction of the residual stream's norm
    bank: SteeringBank | None
    gate_rate: np.ndarray  # float [A], for random times
    rotations: int  # random counterparts of the bank among the controller's directions

    @property
    def shrink(self) -> float:
        """Part of the residual stream that an alarm takes away."""
        return self.recipe.shrink

    @property
    def threshold(self) -> np.ndarray:
        """Float32 [A]; without alarms the coefficients alone say when."""
        if self.recipe.when == "alarm":
            return self.alarm_threshold
        return np.full(len(ACTION_DIMENSIONS), -np.inf, np.float32)

    def coefficient(self, turn: Turn, query: int) -> np.ndarray:
        """Float32 [V]: the bank's directions, then each rotation's; one block is used."""
        directions = 1 if self.bank is None else len(self.bank.names) * (1 + self.rotations)
        strength = np.zeros(directions, np.float32)
        if self.bank is None or self.recipe.push == "nothing" or turn.motion is None:
            return strength
        against = self.bank.against(turn.motion[None], self.coefficient_scale)[0]
        if self.recipe.when == "random":
            drawn = np.random.default_rng([_number(turn.key), query]).random(len(self.gate_rate))
            against = against * (np.asarray(self.bank.gates) @ (drawn < self.gate_rate) > 0)
        block = 0
        if self.recipe.push == "random":
            block = 1 + _number(turn.key) % self.rotations
        first = block * len(against)
        strength[first : first + len(against)] = against
        return strength

    def edit(
        self, actions: np.ndarray, risk: np.ndarray, turn: Turn, rng: np.random.Generator
    ) -> np.ndarray:
        """Scales translation and rotation while any dimension's risk is above its threshold."""
        if self.recipe.keep == 1.0 or not (risk > self.alarm_threshold).any():
            return actions
        edited = actions.copy()
        edited[:, :GRIPPER] *= self.recipe.keep
        return edited


def check_arms(names: Sequence[str], *, has_risk: bool, has_bank: bool, has_rate: bool) -> None:
    """Checks the arms of a run against what it was given.

    Raises:
        UserError: an unknown or repeated arm, or one that needs what is missing.
    """
    if not names:
        raise UserError(f"--interventions is empty; choose from {', '.join(RECIPES)}")
    for name in names:
        if name not in RECIPES:
            raise UserError(f"unknown intervention {name!r}; choose from {', '.join(RECIPES)}")
        recipe = RECIPES[name]
        if recipe.needs_risk and not has_risk:
            raise UserError(f"--interventions={name} listens to alarms: give --risk_head")
        if recipe.push != "nothing" and not has_bank:
            raise UserError(
                f"--interventions={name} pushes along directions: give --steering_vectors"
            )
        if recipe.when == "random" and not has_rate:
            raise UserError(
                f"--interventions={name} needs --gate_rate, the share of queries at which each "
                "dimension alarms; summary.json of a run with mist gives it as alarm_rate"
            )
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise UserError(f"--interventions names {repeated[0]!r} twice")


def build_arms(
    names: Sequence[str],
    *,
    alarm_threshold: np.ndarray,
    coefficient: float = 0.0,
    bank: SteeringBank | None = None,
    gate_rate: np.ndarray | None = None,
) -> dict[str, EvaluationArm]:
    """The named arms, all sharing the directions that `build_controller` lays out."""
    rotations = rotations_for(names)
    return {
        name: EvaluationArm(
            name=name,
            recipe=RECIPES[name],
            alarm_threshold=np.asarray(alarm_threshold, np.float32),
            coefficient_scale=coefficient,
            bank=bank,
            gate_rate=np.zeros(len(ACTION_DIMENSIONS)) if gate_rate is None else gate_rate,
            rotations=rotations,
        )
        for name in names
    }


def build_controller(
    names: Sequence[str],
    risk_head: RiskReader,
    *,
    layers: int,
    width: int,
    bank: SteeringBank | None = None,
) -> Controller:
    """What all arms share: [V, L, D] holds the bank's directions, then each rotation of them."""
    if bank is None:
        dims = len(ACTION_DIMENSIONS)
        nothing = np.zeros((1, layers, width), np.float32)
        return Controller(nothing, np.ones((1, dims), np.float32), risk_head)
    vectors, count = np.asarray(bank.vectors), rotations_for(names)
    blocks = [vectors, *(rotated(vectors, seed) for seed in range(count))]
    gates = np.tile(np.asarray(bank.gates), (1 + count, 1))
    return Controller(np.concatenate(blocks), gates, risk_head)


def rotations_for(names: Sequence[str]) -> int:
    """How many random counterparts of the bank these arms draw from."""
    return ROTATIONS if any(RECIPES[name].push == "random" for name in names) else 0


def _number(key: EpisodeKey) -> int:
    """The same for all arms of a pair."""
    scene = f"{key.suite}/{key.task_id}/{key.initial_state}/{key.seed}"
    return zlib.crc32(scene.encode())
