"""What is drawn for a query is the same for every arm of a pair."""

import dataclasses

import numpy as np

from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.acting.arm import Unsteered
from mist_jax.rollout.acting.policy_actor import PolicyActor
from mist_jax.rollout.episode_spec import Turn
from tests.helpers.tiny import TINY, tiny_parameters, tiny_policy, tiny_policy_inputs

ARMS = ("none", "safe_stop")
SIZES = dataclasses.replace(TINY, action_head="diffusion", diffusion_steps=2)


def test_arms_that_do_not_act_sample_the_same_chunk_of_a_diffusion_policy():
    policy = tiny_policy(OpenVLAOFTModel(SIZES), tiny_parameters(SIZES))
    actor = PolicyActor(policy, 2, arms={name: Unsteered() for name in ARMS})
    [inputs] = tiny_policy_inputs(1)

    def chunks(states, query):
        keys = [EpisodeKey("s", 0, state, 0, arm) for state, arm in zip(states, ARMS, strict=True)]
        turns = [Turn(key, 8, inputs=inputs, instruction="", max_steps=80) for key in keys]
        return [answer.chunk for answer in actor.answer(turns, [query, query])]

    none, braked = chunks((0, 0), 0)
    np.testing.assert_array_equal(none, braked)
    elsewhere, later = chunks((1, 1), 0)[0], chunks((0, 0), 1)[0]
    assert not np.array_equal(none, elsewhere)
    assert not np.array_equal(none, later)
