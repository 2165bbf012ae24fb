"""States of a tiny policy with pictures that were made up, in as many scenes as asked for."""

import numpy as np

from mist_jax.policy.policy import Policy
from mist_jax.steering.causal.states import CausalStates
from tests.helpers.tiny import tiny_policy_inputs

QUERIES = 3
LONGEST = 40


def made_up_states(policy: Policy, scenes: int = 10, tasks: int = 2) -> CausalStates:
    """QUERIES states of each scene, at steps 0, 8, 16 of LONGEST; scene s is of task s % tasks."""
    scene = np.repeat(np.arange(scenes), QUERIES)
    inputs = [
        one
        for first in range(scenes)
        for one in tiny_policy_inputs(QUERIES, seed=first)  # prompts of 6, 7 and 8 tokens
    ]
    steps = np.tile(np.arange(QUERIES, dtype=np.int32) * 8, scenes)
    raw = np.zeros((len(inputs), policy.model.chunk, policy.model.action_dim), np.float32)
    return CausalStates(
        inputs=tuple(inputs),
        instruction=np.asarray([f"task {s % tasks}" for s in scene]),
        scene=scene,
        key=np.asarray([("made up", s % tasks, s) for s in scene], str),
        step=steps,
        max_steps=np.full(len(inputs), LONGEST, np.int32),
        raw_actions=raw,
    )
