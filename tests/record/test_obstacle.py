"""SafeLIBERO's rule, on made-up poses."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mist_jax.record.episode import Episode
from mist_jax.record.obstacle import obstacle_motion
from tests.helpers.episode_samples import random_episode

NAMES = ("plate_1", "obstacle_far", "wine_bottle_obstacle_1", "obstacle_later")


def episode_with(path: np.ndarray, last: float = 0.0) -> Episode:
    """The bottle goes along `path` [steps, 3] (m); after the last step it is `last` (m) away."""
    episode = random_episode(steps=len(path), objects=len(NAMES), queries=1)
    poses = np.zeros((len(path), len(NAMES), 7), np.float32)
    poses[:, :, :3] = [0.1, 0.1, 0.9]
    poses[:, 1, :3] = [2.4, 0.0, 0.1]  # waits out of reach
    poses[:, 2, :3] += path
    poses[:, 3, :3] += np.arange(len(path))[:, None]  # a second one within reach does not count
    gone = np.zeros((len(path), len(NAMES)), np.float32)
    gone[-1, 2] = last
    steps = dataclasses.replace(episode.steps, object_pose=poses, displacement=gone)
    return dataclasses.replace(episode, object_names=NAMES, steps=steps)


@given(st.lists(st.tuples(*[st.floats(-0.01, 0.01)] * 3), min_size=2, max_size=9))
def test_it_is_a_collision_where_the_absolute_changes_sum_to_over_a_millimetre(path):
    path = np.asarray([(0, 0, 0), *path])
    sums = [sum(abs(part) for part in point) for point in path[1:]]
    found = obstacle_motion(episode_with(path))
    assert found is not None
    assert found.name == "wine_bottle_obstacle_1"
    assert found.displacement == pytest.approx(max(sums), abs=1e-6)
    beyond = [step for step, one in enumerate(sums) if one > 1e-3]
    if all(abs(one - 1e-3) > 1e-6 for one in sums):
        assert found.step == (beyond[0] if beyond else None)
        assert found.displaced == bool(beyond)


def test_what_happens_in_the_last_step_counts():
    found = obstacle_motion(episode_with(np.zeros((4, 3)), last=0.0011))
    assert found is not None
    assert found.step == 3


def test_a_scene_without_an_obstacle_has_no_measure():
    episode = episode_with(np.zeros((4, 3)))
    assert obstacle_motion(dataclasses.replace(episode, object_names=("a", "b", "c", "d"))) is None
    poses = episode.steps.object_pose.copy()
    poses[:, 2:, 2] = -1.0  # below the ground: not in the scene
    steps = dataclasses.replace(episode.steps, object_pose=poses)
    assert obstacle_motion(dataclasses.replace(episode, steps=steps)) is None
