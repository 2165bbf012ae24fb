"""Disturbs the executed actions for a while: a generator of failures and of recoveries.

After FailSafe (Lin et al. 2025, arXiv 2510.01642): translation, rotation and no-op perturbations
of a working actor. `Steps.commanded` and `Steps.action` keep what was asked for and what was
executed; `commanded - action` is the correction: added to the executed action it undoes the
perturbation of that step.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Literal, Self, cast, get_args

import numpy as np
from jaxtyping import Float

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.errors import UserError
from mist_jax.record.episode import EpisodeKey

PerturbationKind = Literal["none", "translation", "rotation", "noop", "mixed"]
PERTURBATION_KINDS: tuple[str, ...] = get_args(PerturbationKind)
_LIMITS = (("onset", 0, 100_000), ("length", 1, 100_000), ("strength", 0, 100))
_MIXED = ("translation", "rotation", "noop")


@dataclass(frozen=True)
class Perturbation:
    """The disturbance of one episode, drawn.

    From control step `onset` on, `length` steps long: `translation` and `rotation` add the same
    offset to every action and clip it to [-1, 1], so that the error accumulates; `noop` replaces
    the action by zeros, which holds the pose and the gripper as they are.
    """

    kind: PerturbationKind
    onset: int
    length: int
    offset: tuple[float, ...]  # [A], action units

    def apply(
        self, step: int, action: Float[np.ndarray, "A"]
    ) -> tuple[Float[np.ndarray, "A"], bool]:
        """The action to execute (float32) at a step, and whether it differs from `action`."""
        commanded = np.asarray(action, dtype=np.float32)
        if not self.onset <= step < self.onset + self.length:
            return commanded, False
        if self.kind == "noop":
            executed = np.zeros_like(commanded)
        else:
            offset = np.asarray(self.offset, dtype=np.float32)
            executed = np.where(offset == 0, commanded, np.clip(commanded + offset, -1, 1))
        return executed, bool((executed != commanded).any())

    def __str__(self) -> str:
        if self.kind == "none":
            return "none"
        text = f"{self.kind} at step {self.onset} for {self.length}"
        if self.kind == "noop":
            return text
        return f"{text} by {', '.join(f'{value:+.2f}' for value in self.offset[:6])}"


@dataclass(frozen=True)
class PerturbationSpec:
    """What perturbations of a run are drawn from; every range is inclusive.

    The defaults are long and strong enough to make the scripted expert fail, which corrects what
    is shorter (the README has the rates).

    Attributes:
      kind: `mixed` draws one of translation, rotation and no-op for each episode.
      onset: range of the first perturbed control step.
      length: range of the number of perturbed steps.
      strength: range of the norm of the offset, in action units (1 commands 0.05 m or 0.5 rad);
        its direction is uniform on the sphere.
    """

    kind: PerturbationKind = "none"
    onset: tuple[int, int] = (10, 60)
    length: tuple[int, int] = (20, 80)
    strength: tuple[float, float] = (0.5, 1.0)

    def __post_init__(self):
        if self.kind not in PERTURBATION_KINDS:
            raise UserError(
                f"there is no perturbation {self.kind!r}: "
                f"valid ones are {', '.join(PERTURBATION_KINDS)}"
            )
        for name, least, most in _LIMITS:
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise UserError(
                    f"the perturbation's {name} ranges from {low} to {high}: "
                    f"it takes {least} or more and at most {most}, the smaller number first"
                )

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`, as a dataset's description has it.

        Raises:
            UserError: `text` is not of that form.
        """
        kind, _, ranges = text.partition(" ")
        pair = r"(\d[\d.]*(?:e[+-]?\d+)?)-(\d[\d.]*(?:e[+-]?\d+)?)"
        found = re.fullmatch(rf"\(onset {pair}, length {pair}, strength {pair}\)", ranges)
        if kind != "none" and found is not None:
            onset, length, strength = zip(*[iter(found.groups())] * 2, strict=True)
            spec = cls(
                cast(PerturbationKind, kind),
                onset=(int(onset[0]), int(onset[1])),
                length=(int(length[0]), int(length[1])),
                strength=(float(strength[0]), float(strength[1])),
            )
        else:
            spec = cls()
        if str(spec) != text:
            raise UserError(f"the perturbation {text!r} cannot be read: {cls('mixed')} is one")
        return spec

    def begin(self, key: EpisodeKey, max_steps: int) -> Perturbation:
        """Draws one episode's perturbation.

        It depends on the task, the initial state and the seed of `key`, and not on its arm: arms
        that are compared meet the same disturbance.

        Args:
          key: names the episode.
          max_steps: its cap; the perturbation begins before it.
        """
        name = f"perturbation/{key.suite}/{key.task_id}/{key.initial_state}/{key.seed}"
        rng = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
        # Every kind draws the same numbers, so that kinds can be compared on the same episodes.
        drawn: PerturbationKind = rng.choice(np.array(_MIXED)).item()
        last = max(0, min(self.onset[1], max_steps - 1))
        onset = int(rng.integers(min(self.onset[0], last), last, endpoint=True))
        length = int(rng.integers(*self.length, endpoint=True))
        direction = rng.standard_normal(3)
        direction *= rng.uniform(*self.strength) / np.linalg.norm(direction)
        if self.kind == "none":
            return Perturbation("none", 0, 0, (0.0,) * len(ACTION_DIMENSIONS))
        kind = drawn if self.kind == "mixed" else self.kind
        offset = np.zeros(len(ACTION_DIMENSIONS))
        if kind == "translation":
            offset[:3] = direction
        elif kind == "rotation":
            offset[3:6] = direction
        return Perturbation(kind, onset, length, tuple(offset.tolist()))

    def __str__(self) -> str:
        if self.kind == "none":
            return "none"
        ranges = (
            f"{name} {_short(getattr(self, name)[0])}-{_short(getattr(self, name)[1])}"
            for name in ("onset", "length", "strength")
        )
        return f"{self.kind} ({', '.join(ranges)})"


def _short(number: float) -> str:
    """As short as it can be read back whole."""
    text = f"{number:g}"
    return text if float(text) == number else repr(number)
