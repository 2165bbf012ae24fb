"""Arms that want a change of the action at alarms, and what they are judged by.

Each is the same push with other numbers: turned, along noise, by another map, or not applied.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.evaluation.arms.beforehand.draws import episode_rng, random_turn
from mist_jax.evaluation.arms.listening import Listening
from mist_jax.evaluation.arms.push_specs import EXACT, LINEAR, MIST, NOISE, PERMUTED
from mist_jax.evaluation.arms.row import ArmRow, Control
from mist_jax.record.episode import UNSTEERED, EpisodeKey
from mist_jax.rollout.acting.arm import PushNumbers, Said
from mist_jax.rollout.episode_spec import Turn

Turning = Callable[[EpisodeKey], np.ndarray]


def straight(key: EpisodeKey) -> np.ndarray:
    """Float32 [A, A]: what is wanted as it is."""
    return np.eye(len(ACTION_DIMENSIONS), dtype=np.float32)


def flipped(key: EpisodeKey) -> np.ndarray:
    """Float32 [A, A]: the other way."""
    return -straight(key)


def turned(key: EpisodeKey) -> np.ndarray:
    """Float32 [A, A]: turned at random, once for the episode."""
    return random_turn(episode_rng(key, "turn"))


@dataclass(frozen=True)
class CausalArm(Listening):
    """Every causal arm is the same push with other numbers.

    Attributes:
        push: which of the controller's pushes (`PUSHES`).
        turning: what becomes of what is wanted, [A, A] for an episode.
        applied: 1 pushes activations; 0 adds what is wanted to the actions instead.
        noisy: the push needs noise, drawn once for the episode.
    """

    push: str = MIST
    turning: Turning = straight
    applied: float = 1.0
    noisy: bool = False

    def pushes(self, turn: Turn, query: int) -> Mapping[str, PushNumbers]:
        """One push, whatever the query: its gate waits for alarms."""
        noise = None
        if self.noisy:
            assert self.numbers.causal is not None
            noise = self.numbers.causal.draw_noise(episode_rng(turn.key, "noise"), 1)[0]
        return {self.push: PushNumbers(self.turning(turn.key), self.applied, noise=noise)}

    def edit(
        self, actions: np.ndarray, said: Said, turn: Turn, rng: np.random.Generator
    ) -> np.ndarray:
        """Adds what the push wanted to every action of the chunk, where the push does not act."""
        if self.applied or not said.wanted.any():
            return actions
        return np.clip(actions + said.wanted, -1.0, 1.0)


PLACEBO = ArmRow(
    name="placebo",
    what="as mist, with what is wanted turned at random, once an episode: same gate, same size",
    colour="#a0aec0",
    make=partial(CausalArm, turning=turned),
    needs=("risk", "causal"),
    pushes=(MIST,),
    control=Control(
        "placebo pushes",
        "an effect could come from any push of this size, not from its direction",
    ),
    dose_of="mist",
)
CONTROLS = (UNSTEERED, PLACEBO.name)

ACTION_EDIT = ArmRow(
    name="action_edit",
    what="what mist wants, added to the actions: no activation is touched",
    colour="#3b6ea5",
    make=partial(CausalArm, applied=0.0),
    needs=("risk", "causal"),
    pushes=(MIST,),
    compared_with=CONTROLS,
    dose_of="mist",
)
NOISE_ARM = ArmRow(
    name="noise",
    what="as mist, along random activations, as large as should change the action as far",
    colour="#c3b1a0",
    make=partial(CausalArm, push=NOISE, noisy=True),
    needs=("risk", "causal"),
    pushes=(NOISE,),
    dose_of="mist",
)
FLIPPED = ArmRow(
    name="flipped",
    what="as mist, the other way",
    colour="#be185d",
    make=partial(CausalArm, turning=flipped),
    needs=("risk", "causal"),
    pushes=(MIST,),
    dose_of="mist",
)
PERMUTED_ARM = ArmRow(
    name="permuted",
    what="as mist, wanting what outcomes that were shuffled within tasks teach",
    colour="#9d8fb5",
    make=partial(CausalArm, push=PERMUTED),
    needs=("risk", "causal"),
    pushes=(PERMUTED,),
    dose_of="mist",
)


MIST_ARM = ArmRow(
    name="mist",
    what="at an alarm, the least push that changes the action as is wanted",
    colour="#0f766e",
    make=CausalArm,
    needs=("risk", "causal"),
    pushes=(MIST,),
    compared_with=CONTROLS,
)
MIST_LINEAR = ArmRow(
    name="mist_linear",
    what="as mist, by a Jacobian that follows the activations",
    colour="#7ab8a0",
    make=partial(CausalArm, push=LINEAR),
    needs=("risk", "causal"),
    pushes=(LINEAR,),
    compared_with=CONTROLS,
    dose_of="mist",
)
MIST_EXACT = ArmRow(
    name="mist_exact",
    what="as mist, by the Jacobian at the query's own inputs: a second pass and more",
    colour="#14532d",
    make=partial(CausalArm, push=EXACT),
    needs=("risk", "causal"),
    pushes=(EXACT,),
    compared_with=CONTROLS,
    dose_of="mist",
)
