"""A suite's name says how it is varied: names, levels, words, draws. Nothing is simulated."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mist_jax.errors import UserError
from mist_jax.simulator.libero.initial_state_choice import choose_initial_states
from mist_jax.simulator.libero.libero_suites import LIBERO_SUITES
from mist_jax.simulator.libero.suites import find_suite, load_suite, load_task, suites
from mist_jax.simulator.variation.image_noise import KINDS, ImageNoise, draw_noise
from mist_jax.simulator.variation.levels import AXES, PLAIN, Variation, plain_suite
from mist_jax.simulator.variation.scene import VariedScene
from mist_jax.simulator.variation.start_pose import RADII, joint_offsets
from mist_jax.simulator.variation.viewpoint import RANGES, draw_viewpoint, moved_camera
from mist_jax.simulator.variation.words import THINGS

LEVELS = st.fixed_dictionaries({axis: st.integers(0, most) for axis, most in AXES.items()})
SCENE = {"suite": "libero_spatial", "task_id": 3, "initial_state": 7, "seed": 2}


@given(LEVELS)
def test_every_variation_can_be_named_and_its_name_read(levels):
    variation = Variation(**levels)
    if variation == PLAIN:
        assert Variation.of_name("libero_spatial") is None
    else:
        name = f"libero_spatial_cluttered_{variation}"
        assert Variation.of_name(name) == ("libero_spatial_cluttered", variation)
        assert plain_suite(name) == "libero_spatial_cluttered"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("libero_spatial_camera", "the levels of camera are 1 to 5: libero_spatial_camera1 is one"),
        ("libero_spatial_camera6", "the levels of camera are 1 to 5"),
        ("libero_goal_language0", "the levels of language are 1 to 3"),
        ("libero_spatial_noise1_noise2", "noise stands twice"),
        ("libero_spatial_noise1_camera2", "write libero_spatial_camera2_noise1"),
        ("libero_spatial_camera02", "write libero_spatial_camera2"),
        ("libero_spacial_camera1", "there is no suite 'libero_spacial_camera1'"),
        ("libero_spatial_light1", "there is no suite 'libero_spatial_light1'"),
    ],
)
def test_a_variation_that_there_is_not_is_one_clear_line(name, message):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        find_suite(name)
    assert "\n" not in str(caught.value)


def test_tasks_goals_caps_and_states_are_the_plain_suites():
    for plain, varied in zip(
        load_suite("libero_goal"), load_suite("libero_goal_camera2_noise1"), strict=True
    ):
        assert (varied.suite, varied.plain_suite) == ("libero_goal_camera2_noise1", "libero_goal")
        for field in ("name", "language", "bddl_file", "initial_states_file", "max_steps"):
            assert getattr(varied, field) == getattr(plain, field)
        assert plain.variation == PLAIN
        assert varied.variation == Variation(camera=2, noise=1)
    assert find_suite("libero_goal_camera2") is find_suite("libero_goal_camera2")


def test_accepted_scenes_are_the_plain_suites_where_bodies_stand_as_they_did():
    chosen = choose_initial_states(find_suite("libero_spatial_camera1"), [0], "tuning:3")
    assert chosen == choose_initial_states(find_suite("libero_spatial"), [0], "tuning:3")
    for name in ("libero_spatial_robot1", "libero_spatial_camera1_layout2"):
        with pytest.raises(UserError, match="names no table of accepted scenes"):
            choose_initial_states(find_suite(name), [0], "tuning:3")
    assert load_task("libero_spatial_layout1", 0).initial_states_file is None


def test_the_table_of_suites_lists_plain_ones_alone():
    assert not [name for name in suites() if plain_suite(name) != name]


def draw(variation: Variation, **scene) -> VariedScene:
    return VariedScene.draw(variation, **{**SCENE, "instruction": "open the drawer", **scene})


def test_a_scene_is_drawn_alike_always_and_unlike_others():
    variation = Variation(camera=3, noise=2, language=2)
    assert draw(variation) == draw(variation)
    for other in ({"seed": 3}, {"initial_state": 8}, {"task_id": 4}, {"suite": "libero_goal"}):
        assert draw(variation, **other).viewpoint != draw(variation).viewpoint


def test_what_else_is_varied_does_not_matter_to_an_axis():
    alone, together = draw(Variation(camera=3)), draw(Variation(camera=3, noise=5, language=1))
    assert alone.viewpoint == together.viewpoint
    assert alone.noise is None
    assert together.noise == draw(Variation(noise=5)).noise


def test_what_an_episode_keeps_of_it_names_axes_levels_and_draws():
    assert str(draw(PLAIN)) == "none"
    text = str(draw(Variation(camera=3, robot=2, noise=1, layout=3)))
    for part in ("camera3 (azimuth ", "robot2 (0.2 rad)", "noise1 (", "layout3 (by 4 cm, one obj"):
        assert part in text
    assert "language" not in text


PLAIN_WORDS = sorted({task.language for suite in LIBERO_SUITES for task in suite.tasks})


@pytest.mark.parametrize("level", [1, 2, 3])
def test_every_instruction_of_libero_gets_other_words_clean_of_file_names(level):
    for instruction in PLAIN_WORDS:
        found = {
            draw(
                Variation(language=level), instruction=instruction, initial_state=state
            ).instruction
            for state in range(30)
        }
        assert instruction not in found
        assert len(found) > 1
        for text in found:
            assert re.fullmatch(r"[a-z ,:\-]+", text), text
            assert not re.search(r"scene|language|level|view|init", text), text
            if level < 3:  # the things keep their names
                missing = [t for t in THINGS if t in instruction and t not in text]
                assert not missing, (text, missing)
            else:
                named = [t for t in THINGS if re.search(rf"\b{t}\b", instruction)]
                assert not named or any(t not in text for t in named), text


def test_of_words_that_nobody_knows_the_instruction_is_talked_around():
    text = draw(Variation(language=1), instruction="juggle").instruction
    assert "juggle" in text
    assert text != "juggle"


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_viewpoints_stay_in_the_ranges_of_their_level_and_leave_the_usual_one(level, seed):
    view = draw_viewpoint(level, np.random.default_rng(seed))
    azimuth, elevation, distance, turn = RANGES[level - 1]
    parts = np.abs(
        [
            view.azimuth / azimuth,
            view.elevation / elevation,
            (view.distance - 1) / distance,
            view.pan / turn,
            view.tilt / turn,
        ]
    )
    assert 0.5 - 1e-9 <= parts.max() <= 1.0 + 1e-9
    other = draw_viewpoint(6 - level, np.random.default_rng(seed))
    assert np.sign(other.azimuth) == np.sign(view.azimuth)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_moved_camera_keeps_what_it_looks_at_but_for_its_own_turn(level, seed):
    """Against rays: the old and the new optical axis meet the table in points that pan and tilt
    alone drive apart; distance and height are those that were asked for.
    """
    position, usual = np.array([0.66, 0.0, 1.61]), Rotation.from_euler("zyx", [0.9, 0.1, 0.8])
    view = draw_viewpoint(level, np.random.default_rng(seed))
    quaternion = usual.as_quat(scalar_first=True)
    forward = usual.apply([0, 0, -1])
    focus = position + (0.9 - position[2]) / forward[2] * forward
    moved, turned = moved_camera(position, quaternion, 0.9, view)
    before, after = position - focus, moved - focus
    assert np.linalg.norm(after) == pytest.approx(view.distance * np.linalg.norm(before))
    height = [np.degrees(np.arcsin(v[2] / np.linalg.norm(v))) for v in (before, after)]
    roll = abs(usual.apply([1, 0, 0])[2])
    assert height[1] - height[0] == pytest.approx(view.elevation, abs=0.1 + 12 * roll)
    gaze = Rotation.from_quat(turned, scalar_first=True).apply([0, 0, -1])
    off = np.degrees(np.arccos(np.clip(gaze @ -after / np.linalg.norm(after), -1, 1)))
    assert off == pytest.approx(np.hypot(view.pan, view.tilt), abs=0.05)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_joint_offsets_have_the_length_of_their_level(level, seed):
    offset = next(joint_offsets(level, 7, np.random.default_rng(seed)))
    assert np.linalg.norm(offset) == pytest.approx(RADII[level - 1])


PICTURE = np.kron(  # patches of one colour, 24 pixels wide
    np.random.default_rng(0).integers(0, 256, (4, 4, 3)), np.ones((24, 24, 1), int)
).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_a_function_of_scene_and_step_and_grows_with_the_level(kind):
    changes = []
    for level in range(1, 6):
        noise = ImageNoise(kind, level, angle=0.4, seed=3)
        once, again = noise(PICTURE, 8), noise(PICTURE.copy(), 8)
        assert once.dtype == np.uint8
        assert once.shape == PICTURE.shape
        np.testing.assert_array_equal(once, again)
        changes.append(np.abs(once.astype(float) - PICTURE).mean())
    assert changes[0] > 0.5
    assert changes == sorted(changes)


@pytest.mark.parametrize("kind", ["gaussian_noise", "fog", "glass_blur"])
def test_random_noise_is_drawn_anew_at_every_step(kind):
    noise = ImageNoise(kind, 3, angle=0.4, seed=3)
    assert not np.array_equal(noise(PICTURE, 8), noise(PICTURE, 9))


@pytest.mark.parametrize("kind", ["gaussian_blur", "motion_blur", "zoom_blur"])
def test_a_blur_neither_brightens_nor_moves_a_picture(kind):
    flat = np.full((64, 64, 3), 137, np.uint8)
    np.testing.assert_allclose(ImageNoise(kind, 5, 1.1, 0)(flat, 0), flat, atol=1)
    dot = np.zeros((65, 65, 3), np.uint8)
    dot[31:34, 31:34] = 255
    light = ImageNoise(kind, 2, 1.1, 0)(dot, 0)[..., 0].astype(float)
    rows, columns = np.indices(light.shape)
    middle = [(light * rows).sum() / light.sum(), (light * columns).sum() / light.sum()]
    np.testing.assert_allclose(middle, [32, 32], atol=0.3)


def test_kinds_of_noise_come_all():
    drawn = {draw_noise(1, np.random.default_rng(seed)).kind for seed in range(60)}
    assert drawn == set(KINDS)
