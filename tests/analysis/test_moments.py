"""Moments are what the policy is really asked."""

import numpy as np
import pytest

import mist_jax
from mist_jax.analysis.moments import see_moments
from mist_jax.errors import UserError
from tests.helpers.tiny import tiny_policy


@pytest.mark.libero
def test_they_are_the_queries_of_the_episode_from_the_same_state():
    policy = tiny_policy()
    seen = see_moments(policy, "libero_spatial", 0, (31,), queries=3, assets="lite", camera_res=64)
    assert [moment.query for moment in seen] == [0, 1, 2]
    episode = mist_jax.roll_out(
        policy, "libero_spatial", 0, initial_state=31, assets="lite", camera_res=64
    )
    said = [policy.predict_inputs([moment.inputs]).raw_actions[0] for moment in seen]
    np.testing.assert_array_equal(said, episode.queries.raw_actions[:3])
    assert {moment.instruction for moment in seen} == {episode.instruction}


def test_nothing_to_see_is_refused():
    for states, queries in (((), 1), ((0,), 0)):
        with pytest.raises(UserError, match="at least one initial state and one query"):
            see_moments(tiny_policy(), "libero_spatial", 0, states, queries=queries)
