"""Stored queries become the inputs that the policy was asked with."""

from collections.abc import Sequence

import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.record.episode import Episode
from mist_jax.record.observation import CAMERAS, Observation
from mist_jax.steering.causal.states import gather_states, query_inputs
from tests.helpers.causal_states import pictured_episode, render_of
from tests.helpers.synthetic_episodes import episode
from tests.helpers.tiny import TINY, tiny_policy

POLICY = tiny_policy()


def pictured(scene: int, length: int = 24, arm: str = "none", model: str = POLICY.identity):
    return pictured_episode(scene, length, model=model, arm=arm, side=TINY.image_size, seed=scene)


def gather(episodes: Sequence[Episode], limit: int = 100, seed: int = 0):
    return gather_states(iter(episodes), POLICY, limit=limit, seed=seed)


def test_inputs_are_those_of_the_observation_at_the_querys_step():
    made = pictured(0)
    seen = Observation(
        eef_pos=made.steps.eef_pos[16],
        eef_quat=made.steps.eef_quat[16],
        gripper_qpos=made.steps.gripper_qpos[16],
        joint_pos=made.steps.joint_pos[16],
        images={c: render_of(TINY.image_size, 2, k) for k, c in enumerate(CAMERAS)},
    )
    wanted = POLICY.preprocessor(seen, made.instruction)
    found = query_inputs(made, 2, POLICY.preprocessor)
    np.testing.assert_array_equal(found.proprio, wanted.proprio)
    np.testing.assert_array_equal(found.token_ids, wanted.token_ids)
    difference = np.abs(found.images.astype(int) - wanted.images.astype(int))
    assert difference.mean() < 4  # a picture of another query or camera, or turned, is farther off
    turned = np.abs(found.images[:, ::-1, ::-1].astype(int) - wanted.images.astype(int))
    assert turned.mean() > 10


def test_every_episode_gives_as_many_states_as_can_be():
    episodes = [pictured(scene, length=8 * (1 + scene)) for scene in range(6)]  # 1 to 6 queries
    states = gather(episodes, limit=15)
    assert sorted(np.bincount(states.scene).tolist()) == [1, 2, 3, 3, 3, 3]
    assert len(gather(episodes, limit=1000)) == 21
    assert len(states.inputs) == len(states.step) == len(states.raw_actions) == 15


def test_states_know_what_a_bank_asks_of_them():
    states = gather([pictured(scene) for scene in range(5)])
    assert states.step.tolist() == [0, 8, 16] * 5
    assert (states.max_steps == 220).all()
    np.testing.assert_allclose(states.progress[:3], [0, 8 / 220, 16 / 220])
    assert sorted(set(states.instruction)) == ["pick up bowl 0", "pick up bowl 1"]
    some = states.part(states.scene == 3)
    assert len(some) == 3
    assert set(some.instruction) == {"pick up bowl 1"}


def test_states_depend_on_the_seed_alone():
    episodes = [pictured(scene, length=80) for scene in range(5)]
    one, same, other = (gather(episodes, limit=10, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.step, same.step)
    assert not np.array_equal(one.step, other.step)


def test_what_an_arm_steered_is_left_out():
    episodes = [pictured(scene) for scene in range(6)]
    episodes[2] = pictured(2, arm="mist")
    assert set(gather(episodes).scene) == set(range(5))
    assert len(gather(episodes)) == 15


@pytest.mark.parametrize(
    ("episodes", "message"),
    [
        ([episode([], model=POLICY.identity)], "keeps no pictures of unsteered queries"),
        ([pictured(0, model="other@1")], "acted by 'other@1'"),
        ([pictured(scene) for scene in range(4)], "at least 5 scenes"),
    ],
)
def test_data_that_cannot_be_used_are_refused(episodes, message):
    with pytest.raises(UserError, match=message) as refusal:
        gather(episodes)
    assert "\n" not in str(refusal.value)
