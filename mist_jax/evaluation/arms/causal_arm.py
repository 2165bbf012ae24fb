"""An arm that wants a change of the action at alarms, and realises it by a push or by an edit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.evaluation.arms.draws import episode_rng, random_turn
from mist_jax.evaluation.arms.push_specs import MIST
from mist_jax.evaluation.arms.run_numbers import RunNumbers
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.arm import PushNumbers, Said, Unsteered
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
class CausalArm(Unsteered):
    """Every causal arm is the same push with other numbers.

    Attributes:
        numbers: of the run.
        push: which of the controller's pushes (`PUSHES`).
        turning: what becomes of what is wanted, [A, A] for an episode.
        applied: 1 pushes activations; 0 adds what is wanted to the actions instead.
        noisy: the push needs noise, drawn once for the episode.
    """

    numbers: RunNumbers = field(default_factory=RunNumbers)
    push: str = MIST
    turning: Turning = straight
    applied: float = 1.0
    noisy: bool = False

    @property
    def threshold(self) -> np.ndarray:
        """Float32 [M], of an alarm."""
        return self.numbers.alarm_threshold

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
