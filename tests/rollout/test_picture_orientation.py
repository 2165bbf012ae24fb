"""Left and right, up and down: pictures against MuJoCo's own camera matrix, end to end."""

import dataclasses
from typing import Any

import mujoco
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from mist_jax.episodes.codec import decode_episode, encode_episode
from mist_jax.episodes.export.tfrecord import _columns
from mist_jax.episodes.schema import episode_features
from mist_jax.policy.preprocessing.images import ImagePreprocessing
from mist_jax.record.observation import CAMERAS, Observation
from mist_jax.record.picture import STORED_FORM, as_seen, decode_picture, encode_picture
from mist_jax.rollout.recording import Recording
from mist_jax.rollout.sinks.film import draw_frames
from mist_jax.simulator.environment.environment import Environment
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.libero.suites import load_task
from mist_jax.training.samples import SampleSpec, samples_of
from tests.helpers.episode_samples import INFO, random_episode

SIDE = 128
BLACK = np.zeros((SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def scene():
    task = load_task("libero_spatial", 0)
    environment = Environment(task, find_assets("auto", allow_download=False), camera_res=SIDE)
    environment.reset(0, 0)
    yield environment
    environment.close()


def put_before_camera(scene, camera):
    """Renders without and with a bowl right of and above the camera's axis, and where it should be.

    The place follows from MuJoCo's camera pose and field of view alone: x to the right, y up, the
    view along -z; (column, row) are of an upright, unmirrored picture.
    """
    model, data = scene.model, scene.data
    number = model.camera(camera).id
    position, axes = data.cam_xpos[number], data.cam_xmat[number].reshape(3, 3)
    right, up, ahead = 0.06, 0.05, 0.3
    target = position + axes @ np.array([right, up, -ahead])
    focal = SIDE / 2 / np.tan(np.deg2rad(model.cam_fovy[number]) / 2)
    expected = SIDE / 2 + focal * right / ahead, SIDE / 2 - focal * up / ahead
    free = next(j for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE)
    address = model.jnt_qposadr[free]
    before, seen = scene.snapshot(), []
    for place in (
        position + np.array([0, 0, 20]),
        target,
    ):  # out of sight, then where it is expected
        poses = before.sample.poses.copy()
        poses[address : address + 3] = place
        sample = dataclasses.replace(before.sample, poses=poses)
        scene.restore(dataclasses.replace(before, sample=sample))
        seen.append(scene.observe(render=True).images[camera])
    scene.restore(before)
    without, moved = seen
    return without, moved, expected


def place_of_change(one, other):
    """(column, row) of the middle of what differs."""
    rows, columns = np.nonzero(np.abs(one.astype(int) - other.astype(int)).sum(-1) > 90)
    assert len(rows) > 100
    return columns.mean(), rows.mean()


def recorded(render, camera):
    """A whole episode of 12 steps that keeps `render` as the picture of one camera."""
    images = {name: render if name == camera else BLACK for name in CAMERAS}
    recording = Recording(())
    state = Observation(np.zeros(3), np.zeros(4), np.zeros(2), np.zeros(7), images=images)
    for _ in range(12):
        recording.add(
            state,
            keep_images=True,
            action=np.zeros(7),
            commanded=np.zeros(7),
            perturbed=False,
            reward=0.0,
            displacement=np.zeros(0),
            grasped=-1,
        )
    one = random_episode(dataclasses.replace(INFO, images="none"), objects=0, contacts=0)
    queries = dataclasses.replace(one.queries, expert=None, risk=None)
    return dataclasses.replace(one, steps=recording.steps(), queries=queries)


@pytest.mark.libero
@pytest.mark.parametrize("camera", CAMERAS)
def test_left_right_and_up_of_a_known_scene_are_right_for_the_viewer(scene, camera):
    without, moved, expected = put_before_camera(scene, camera)
    seen = [as_seen(decode_picture(encode_picture(render))) for render in (without, moved)]
    np.testing.assert_allclose(place_of_change(*seen), expected, atol=12)
    # What the published code feeds its towers, and public datasets store, is the mirror image.
    column, row = place_of_change(
        *(decode_picture(encode_picture(render)) for render in (without, moved))
    )
    np.testing.assert_allclose((SIDE - 1 - column, row), expected, atol=12)


@pytest.mark.libero
def test_a_film_shows_a_known_scene_with_its_own_left_and_right(scene):
    without, moved, expected = put_before_camera(scene, CAMERAS[0])
    frames = [
        next(iter(draw_frames(recorded(render, CAMERAS[0]))))[:384, :384]
        for render in (without, moved)
    ]
    views = [np.asarray(Image.fromarray(frame).resize((SIDE, SIDE))) for frame in frames]
    np.testing.assert_allclose(place_of_change(*views), expected, atol=12)


def gradient(side=256, seed=0):
    """A picture in which no turn looks like another, with some texture."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, side)
    picture = np.stack([ramp[:, None] + 0 * ramp, 0 * ramp[:, None] + ramp], -1)
    return np.dstack([picture, np.full((side, side), 90.0)]).round().astype(
        np.uint8
    ) + rng.integers(0, 8, (side, side, 1), np.uint8)


def test_dataset_and_export_store_pictures_turned_by_180_degrees_as_public_datasets_do():
    info = dataclasses.replace(INFO, images="step", camera_res=256)
    render = gradient()
    episode = recorded(render, CAMERAS[0])
    stored = decode_episode(encode_episode(episode, info), info, images=True)
    exported = _columns(episode, info)["steps/observation/image"]
    for jpeg in (stored.steps.images[CAMERAS[0]][0], exported[0]):
        picture = decode_picture(jpeg)
        assert np.abs(picture.astype(int) - render[::-1, ::-1]).mean() < 2
        assert np.abs(picture.astype(int) - render[::-1]).mean() > 20
        assert np.abs(picture.astype(int) - render).mean() > 20
    features: Any = episode_features(info)["steps"]
    pictures = features.feature["observation"]
    assert {pictures[name].doc.desc for name in ("image", "wrist_image")} == {STORED_FORM}


def test_training_sees_the_pixels_that_the_policy_is_asked_with():
    render = gradient(seed=1)
    ask = ImagePreprocessing(image_size=128, crop_side=128, center_crop=False)
    samples = samples_of(recorded(render, CAMERAS[0]), SampleSpec(128, 8))
    assert np.abs(samples.images[0, 0].astype(int) - ask(render)).mean() < 1.5


def test_turning_before_the_jpeg_changes_less_than_the_jpeg_itself():
    """The render's JPEG turned when read, and the turned render's JPEG: equal within its error."""
    render = gradient(seed=2)
    turned_late = decode_picture(simplejpeg.encode_jpeg(render, quality=95))[::-1, ::-1].astype(int)
    now = decode_picture(encode_picture(render)).astype(int)
    error = np.abs(turned_late - render[::-1, ::-1]).mean()
    assert np.abs(now - turned_late).mean() <= error
    assert np.abs(now - render[::-1, ::-1]).mean() == pytest.approx(error, rel=0.1)
