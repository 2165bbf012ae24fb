"""The decomposition of approach velocity obeys its definition, on arrays alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from mist_jax.simulator.contacts.attribution import (
    attribute,
    link_point_map,
    rigid_point_map,
    rotation_vector,
)


def vectors(size: int, bound: float = 2.0):
    # Six decimals: products of numbers near the smallest float are rounded away.
    return arrays(np.float64, size, elements=st.floats(-bound, bound).map(lambda x: round(x, 6)))


NORMALS = vectors(3).filter(lambda v: np.linalg.norm(v) > 0.1).map(lambda v: v / np.linalg.norm(v))


def test_push_along_x_into_a_wall_is_x_alone():
    result = attribute(
        normal=np.array([-1.0, 0, 0]),
        twist=np.array([0.2, 0.1, 0, 0, 0, 0]),
        point_map=rigid_point_map(np.array([0.05, 0, -0.1])),
        finger_velocity=np.zeros(3),
        closing_speed=0.0,
        point_velocity=np.array([0.2, 0.1, 0]),
    )
    np.testing.assert_allclose(result.share, [1, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(result.velocity, [0.2, 0, 0, 0, 0, 0, 0])
    assert result.residual == 0


def test_a_dimension_that_backs_off_has_no_share_and_a_negative_velocity():
    result = attribute(
        normal=np.array([0, 0, 1.0]),
        twist=np.array([0, 0, -0.3, 0, 2.0, 0]),
        # Pitch lifts a point behind the end effector: (0, 2, 0) x (-0.1, 0, 0) = (0, 0, 0.2).
        point_map=rigid_point_map(np.array([-0.1, 0, 0])),
        finger_velocity=np.array([0, 0, -0.1]),
        closing_speed=0.1,
        point_velocity=np.array([0, 0, -0.15]),
    )
    np.testing.assert_allclose(result.velocity, [0, 0, 0.3, 0, -0.2, 0, 0.1], atol=1e-12)
    np.testing.assert_allclose(result.share, [0, 0, 0.75, 0, 0, 0, 0.25], atol=1e-12)
    np.testing.assert_allclose(result.residual, -0.05)
    assert result.motion[6] == 0.1


@given(NORMALS, vectors(6), vectors(3), vectors(3), vectors(3))
def test_velocities_and_residual_sum_to_the_approach(normal, twist, offset, finger, point):
    result = attribute(normal, twist, rigid_point_map(offset), finger, 0.0, point)
    np.testing.assert_allclose(result.velocity.sum() + result.residual, -normal @ point, atol=1e-9)
    assert (result.share >= 0).all()
    assert (result.share[result.velocity <= 0] == 0).all()
    if (result.velocity > 0).any():
        np.testing.assert_allclose(result.share.sum(), 1)
    else:
        assert not result.share.any()


@given(NORMALS, vectors(6), vectors(3), vectors(3))
def test_undoing_a_dimension_removes_its_own_velocity(normal, twist, offset, finger):
    def approach(twist):
        # Independent of the map: the rigid body's velocity at the point.
        return -normal @ (twist[:3] + np.cross(twist[3:], offset) + finger)

    velocity = attribute(normal, twist, rigid_point_map(offset), finger, 0.0, np.zeros(3)).velocity
    for dimension in range(6):
        without = twist.copy()
        without[dimension] = 0
        np.testing.assert_allclose(
            approach(twist) - approach(without), velocity[dimension], atol=1e-9
        )


@given(vectors(6), vectors(3), st.integers(0, 2**32 - 1))
def test_a_point_on_the_hand_gets_the_same_map_through_the_joints(twist, offset, seed):
    # Six twist components and seven joints: the least-norm joint velocities realise the twist.
    eef = np.random.default_rng(seed).standard_normal((6, 7))
    point = rigid_point_map(offset) @ eef
    np.testing.assert_allclose(
        link_point_map(eef, point) @ twist, rigid_point_map(offset) @ twist, atol=1e-6
    )


@given(vectors(3, 1.5), vectors(3, 3.0))
def test_rotation_vector_agrees_with_scipy(turn, start):
    before = Rotation.from_rotvec(start)
    after = Rotation.from_rotvec(turn) * before
    np.testing.assert_allclose(
        rotation_vector(before.as_matrix(), after.as_matrix()), turn, atol=1e-7
    )
