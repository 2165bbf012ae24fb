"""What is served: a policy under one arm, in batches of one size, and what is told of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.evaluation.arms.acting import check_acting
from mist_jax.evaluation.arms.build import build_arms, build_controller
from mist_jax.evaluation.arms.registry import find_arm
from mist_jax.evaluation.arms.run_numbers import RunNumbers
from mist_jax.intervention.reader import RiskReader
from mist_jax.policy.policy import Policy
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.acting.policy_actor import PolicyActor, PolicyAnswer
from mist_jax.rollout.episode_spec import Turn
from mist_jax.serving.observation import STATE, ServedObservation
from mist_jax.signed import named

_WARM = "pick up the black bowl and place it on the plate"


@dataclass(frozen=True)
class ServedPolicy:
    """A policy under the arm `arm`; `actor` asks it, `threshold` [M] is that of alarms.

    `reads_risk` says whether there is a risk head, `parts` names what was restored, by digest.
    """

    policy: Policy
    arm: str
    actor: PolicyActor
    threshold: np.ndarray
    reads_risk: bool
    parts: Mapping[str, str]

    @classmethod
    def of(
        cls,
        policy: Policy,
        arm: str,
        batch_size: int,
        *,
        risk_head: RiskReader | None = None,
        numbers: RunNumbers | None = None,
        parts: Mapping[str, str] | None = None,
    ) -> "ServedPolicy":
        """Builds the arm as an evaluation does.

        Raises:
            UserError: the arm needs episodes of the very scenes that it acts in, or cannot act
                with what there is.
        """
        check_servable(arm)
        numbers = RunNumbers() if numbers is None else numbers
        arms, controller = build_arms([arm], numbers), None
        check_acting(arms, numbers, risk_head, policy.sites, policy.layers)
        if risk_head is not None or numbers.causal is not None:
            controller = build_controller(
                [arm], risk_head, numbers, sites=policy.sites, batch=batch_size
            )
        actor = PolicyActor(policy, batch_size, controller=controller, arms=arms)
        threshold = np.asarray(numbers.alarm_threshold)
        return cls(policy, arm, actor, threshold, risk_head is not None, parts or {})

    @property
    def chunk(self) -> int:
        """Actions that one answer holds."""
        return self.policy.model.chunk

    def warm_up(self) -> None:
        """Compiles, so that no client waits for it; prompts of another padded length still do."""
        before = self.policy.preprocessor
        still = np.zeros(self.policy.model.action_dim, np.float32)
        state = np.zeros(STATE if before.takes_proprio else 0)
        black = {camera: np.zeros((256, 256, 3), np.uint8) for camera in before.cameras}
        key = EpisodeKey("warm_up", 0, 0, 0, self.arm)
        observation = ServedObservation(black, state, _WARM)
        self.answer([observation.turn(before, key, step=0, max_steps=1, motion=still)], [0])
        self.actor.forget(key)

    def answer(self, turns: Sequence[Turn], queries: Sequence[int]) -> list[PolicyAnswer]:
        """Answers to at most `actor.batch_size` turns; see `PolicyActor.answer`."""
        return self.actor.answer(turns, queries)

    def describe(self) -> dict[str, Any]:
        """What a client is told first: plain values by name."""
        row = find_arm(self.arm)
        alarms = zip(SIGNED_MOTIONS, self.threshold.tolist(), strict=True)
        return {
            "model": self.policy.identity,
            "arm": self.arm,
            "arm_does": row.what,
            "chunk": self.chunk,
            "batch_size": self.actor.batch_size,
            "dtype": self.policy.dtype,
            "threshold": {name: value for name, value in alarms if np.isfinite(value)},
            **{name: digest for name, digest in self.parts.items() if digest},
        }

    def told(self, answer: PolicyAnswer, query: int) -> dict[str, Any]:
        """What is told beside the actions: plain values, since clients slice arrays by step.

        `risk` and `alarms` are there with a risk head alone.
        """
        risk = dict(zip(SIGNED_MOTIONS, answer.risk.tolist(), strict=True))
        told: dict[str, Any] = {"arm": self.arm, "query": query, "step": answer.step}
        if self.reads_risk:
            told["risk"] = risk
            told["alarms"] = named(answer.risk > self.threshold)
        return {
            **told,
            "gate_open": bool(answer.gate.any()),
            "gate": answer.gate.tolist(),
            "wanted": dict(zip(ACTION_DIMENSIONS, answer.wanted.tolist(), strict=True)),
            "realised": dict(zip(ACTION_DIMENSIONS, answer.realised.tolist(), strict=True)),
            "edited": answer.edited,
        }


def check_servable(arm: str) -> None:
    """Refuses arms that know an episode before it runs: what a client will do, nobody does.

    Raises:
        UserError: the arm is such a one, or there is none of the name.
    """
    needs = set(find_arm(arm).needs) & {"replay", "oracle"}
    if needs:
        raise UserError(
            f"--interventions={arm} cannot be served: it needs earlier episodes of the very "
            "scenes that it acts in"
        )
