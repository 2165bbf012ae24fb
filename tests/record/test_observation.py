"""Observations are LIBERO's, bit for bit, and one file alone knows its names."""

from pathlib import Path

import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.record.observation import CAMERAS, JOINTS, Observation

PACKAGE = Path(__file__).parents[2] / "mist_jax"
# These name bodies and joints of the simulated robot, not parts of an observation.
KNOW_THE_ROBOTS_BODIES = {
    "simulator/expert/expert.py",
    "simulator/expert/grasp.py",
}


def dictionary() -> dict[str, np.ndarray]:
    """A part of what LIBERO's `step` returns, with entries that are no part of an observation."""
    rng = np.random.default_rng(0)
    return {
        "robot0_joint_pos": rng.normal(size=JOINTS),
        "robot0_joint_vel": rng.normal(size=JOINTS),
        "robot0_eef_pos": rng.normal(size=3),
        "robot0_eef_quat": rng.normal(size=4),
        "robot0_gripper_qpos": rng.normal(size=2),
        "plate_1_pos": rng.normal(size=3),
        "plate_1_quat": rng.normal(size=4),
        "plate_1_to_robot0_eef_pos": rng.normal(size=3),
        "plate_1_to_robot0_eef_quat": rng.normal(size=4).astype(np.float32),
        "robot0_proprio-state": rng.normal(size=39),
        **{f"{name}_image": rng.integers(0, 256, (8, 8, 3), np.uint8) for name in CAMERAS},
    }


def test_libero_to_observation_and_back_keeps_every_bit_of_what_belongs_to_it():
    seen = dictionary()
    back = Observation.from_libero(seen).as_libero()
    foreign = {"robot0_joint_vel", "robot0_proprio-state"}
    foreign |= {name for name in seen if "_to_robot0_" in name}
    assert back.keys() == seen.keys() - foreign
    for name, value in back.items():
        assert value.dtype == seen[name].dtype, name
        np.testing.assert_array_equal(value, seen[name], err_msg=name)


def test_an_objects_quaternion_is_wxyz_and_the_hands_xyzw():
    seen = dictionary()
    observation = Observation.from_libero(seen)
    assert list(observation.object_pose) == ["plate_1"]
    np.testing.assert_array_equal(observation.object_pose["plate_1"][3], seen["plate_1_quat"][3])
    np.testing.assert_array_equal(observation.object_pose["plate_1"][4:], seen["plate_1_quat"][:3])
    np.testing.assert_array_equal(observation.eef_quat, seen["robot0_eef_quat"])


def test_a_part_that_is_needed_and_not_there_is_named_as_libero_names_it():
    seen = dictionary()
    del seen["robot0_joint_pos"], seen["agentview_image"]
    with pytest.raises(UserError, match=r"no 'robot0_joint_pos'; it has: plate_1_pos, "):
        Observation.from_libero(seen)
    with pytest.raises(UserError, match="no 'agentview_image'"):
        Observation.from_libero(seen, needs=CAMERAS)
    partial = Observation.from_libero(seen, needs=())
    assert partial.joint_pos.size == 0
    assert "robot0_joint_pos" not in partial.as_libero()


def test_one_file_alone_knows_liberos_names_of_observations():
    spelled = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "robot0_" in path.read_text()
    }
    assert spelled == {"record/observation.py"} | KNOW_THE_ROBOTS_BODIES
