"""Names of bodies that people read."""

import pytest

from mist_jax.record.body_names import readable_body


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gripper0_right_gripper", "hand"),
        ("gripper0_leftfinger", "left finger"),
        ("robot0_link5", "arm link 5"),
        ("akita_black_bowl_1_main", "akita black bowl"),
        ("akita_black_bowl_2_main", "akita black bowl 2"),
        ("wooden_cabinet_1_cabinet_top", "wooden cabinet, top"),
        ("flat_stove_1_burner", "flat stove, burner"),
        ("obstacle_mug_main", "obstacle mug"),
        ("table", "table"),
    ],
)
def test_bodies_are_called_as_people_say_them(name, said):
    assert readable_body(name) == said
