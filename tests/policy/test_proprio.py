"""The robot's state: axis-angle without a canonical sign, bounds, and no change of the input."""

import math

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from mist_jax.policy.preprocessing.gripper import gripper_for_environment
from mist_jax.policy.preprocessing.proprio import normalise_proprio, read_proprio
from mist_jax.policy.preprocessing.statistics import Bounds
from mist_jax.quaternion import axis_angle
from mist_jax.record.observation import Observation

QUATERNIONS = arrays(float, 4, elements=st.floats(-1, 1)).filter(
    lambda q: float(np.linalg.norm(q)) > 0.1
)


def unit(quaternion: np.ndarray) -> np.ndarray:
    return quaternion / np.linalg.norm(quaternion)


@given(QUATERNIONS)
def test_axis_angle_is_the_same_rotation(quaternion: np.ndarray) -> None:
    quaternion = unit(quaternion)
    assume(abs(quaternion[3]) < 1 - 1e-9)  # nearer to none, the formula of LIBERO loses digits
    ours = Rotation.from_rotvec(axis_angle(quaternion))
    difference = ours * Rotation.from_quat(quaternion).inv()
    assert difference.magnitude() < 1e-6


def test_axis_angle_is_not_canonicalised_where_w_is_negative() -> None:
    quaternion = unit(np.array([0.9, 0.1, 0.0, -0.2]))
    angle = float(np.linalg.norm(axis_angle(quaternion)))
    assert math.pi < angle < 2 * math.pi
    np.testing.assert_allclose(angle, 2 * math.acos(quaternion[3]), rtol=1e-12)
    assert np.linalg.norm(axis_angle(quaternion) - axis_angle(-quaternion)) > 1


def test_no_rotation_is_zero_even_where_w_exceeds_one() -> None:
    for w in (1.0, 1.0 + 1e-9, -1.0 - 1e-9):
        assert axis_angle(np.array([0.0, 0.0, 1e-12, w])).tolist() == [0, 0, 0]


def observation() -> Observation:
    return Observation(
        eef_pos=np.array([0.1, -0.2, 1.1]),
        eef_quat=unit(np.array([0.9, 0.1, 0.0, -0.2])),
        gripper_qpos=np.array([0.03, -0.03]),
        joint_pos=np.zeros(0),
    )


def test_state_is_position_rotation_gripper() -> None:
    state = read_proprio(observation())
    assert state.shape == (8,)
    np.testing.assert_array_equal(state[:3], observation().eef_pos)
    np.testing.assert_array_equal(state[6:], observation().gripper_qpos)


BOUNDS = Bounds(np.linspace(-1, 0, 8), np.linspace(0.5, 2, 8), np.ones(8, bool))


def test_asking_twice_about_one_observation_does_not_normalise_twice() -> None:
    seen = observation()
    first = normalise_proprio(read_proprio(seen), BOUNDS)
    second = normalise_proprio(read_proprio(seen), BOUNDS)
    np.testing.assert_array_equal(first, second)
    for key, value in observation().as_libero().items():
        np.testing.assert_array_equal(seen.as_libero()[key], value)
    state = read_proprio(seen)
    kept = state.copy()
    normalise_proprio(state, BOUNDS)
    np.testing.assert_array_equal(state, kept)


def test_bounds_map_to_one_and_clip() -> None:
    np.testing.assert_allclose(normalise_proprio(BOUNDS.low, BOUNDS), -1, atol=1e-6)
    np.testing.assert_allclose(normalise_proprio(BOUNDS.high, BOUNDS), 1, atol=1e-6)
    assert (normalise_proprio(BOUNDS.high + 5, BOUNDS) == 1).all()
    assert (normalise_proprio(BOUNDS.low - 5, BOUNDS) == -1).all()
    assert normalise_proprio(BOUNDS.low, BOUNDS).dtype == np.float32


def test_gripper_is_binary_and_negated() -> None:
    actions = np.zeros((4, 7), np.float32)
    actions[:, :6] = 0.3
    actions[:, 6] = [0.0, 0.49, 0.5, 1.0]
    kept = actions.copy()
    converted = gripper_for_environment(actions)
    assert converted[:, 6].tolist() == [1, 1, 0, -1]
    np.testing.assert_array_equal(converted[:, :6], actions[:, :6])
    np.testing.assert_array_equal(actions, kept)
