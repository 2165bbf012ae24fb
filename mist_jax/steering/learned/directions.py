"""Learned pushes as directions of a bank, with how well two halves of the scenes agree on them."""

from collections.abc import Sequence

import numpy as np

from mist_jax.errors import UserError
from mist_jax.policy.policy import Policy
from mist_jax.steering.bank import Directions
from mist_jax.steering.causal.effects import POSE_MOTIONS
from mist_jax.steering.causal.states import CausalStates
from mist_jax.steering.learned.learn import LearnedPush, LearningConfig, goal_against, learn_push


def learned_directions(
    policy: Policy,
    states: CausalStates,
    names: Sequence[str],
    length: np.ndarray,
    site: str,
    *,
    config: LearningConfig,
    seed: int,
) -> Directions:
    """A push for each of `names`, at the layers of which `length` float32 [L] is not zero.

    `length` is the mean norm of the activations. `facts`: the coefficient it was learned at, its
    loss (0: as wanted in every state; 1: as good as none), the states it was learned from, and
    `stability`, the mean cosine between the pushes learned from two halves of the scenes.

    Raises:
        UserError: the policy's actions cannot be differentiated.
    """
    if not policy.model.differentiable:
        raise UserError(
            f"the actions of {policy.identity} cannot be differentiated: leave learned out of "
            "--methods"
        )
    steered = np.flatnonzero(length)
    rng = np.random.default_rng(seed)
    drawn = states.part(np.sort(rng.permutation(len(states))[: config.states]))
    half = np.unique(drawn.scene, return_inverse=True)[1] % 2 == 0
    absent = {name: "the gripper opens or closes" for name in names if name not in POSE_MOTIONS}
    found: list[LearnedPush] = []
    facts: dict[str, dict[str, float]] = {}
    for name in names:
        if name in absent:
            continue
        goal = goal_against(name, policy, length, site, config)
        whole, *parts = (
            learn_push(policy, part.inputs, goal, config, seed) if len(part) else None
            for part in (drawn, drawn.part(half), drawn.part(~half))
        )
        if whole is None:
            absent[name] = "the action does not depend on a push there"
            continue
        found.append(whole)
        stability = np.nan
        if all(parts):
            first, second = (part.unit[steered] for part in parts if part is not None)
            stability = float((first * second).sum(-1).mean())
        facts[name] = {
            "learned_coefficient": whole.amount,
            "learned_loss": whole.loss,
            "n_states": len(drawn),
            "stability": stability,
        }
    unit = [one.unit[steered] for one in found]
    shape = (0, len(steered), policy.sites[site].width)
    stacked = np.stack(unit) if unit else np.zeros(shape, np.float32)
    return Directions("learned", tuple(facts), stacked, absent, facts)
