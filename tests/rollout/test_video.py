"""Videos: one frame per step, upright, contacts and outcome visible, and whole or absent."""

import dataclasses

import imageio_ffmpeg
import numpy as np
import pytest
import simplejpeg

from mist_jax.rollout.sinks.dataset import thin_images
from mist_jax.rollout.sinks.film import draw_frames, write_video
from tests.helpers.episode_samples import INFO, random_episode

RED = np.array([255, 90, 79])


@pytest.fixture
def episode():
    one = random_episode(dataclasses.replace(INFO, camera_res=32), steps=6, contacts=0)
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[-8:, :8, 1] = 255  # stored mirrored: the green corner belongs to the lower right
    jpeg = simplejpeg.encode_jpeg(picture, quality=95)
    steps = dataclasses.replace(
        one.steps,
        images={"agentview": (jpeg,) * 6},
        perturbed=np.zeros(6, bool),
    )
    queries = dataclasses.replace(one.queries, risk=None)
    return dataclasses.replace(one, steps=steps, queries=queries, outcome="success")


def with_contact(episode, step, harmful):
    [contact] = random_episode(INFO, contacts=1).contacts[:1]
    contact = dataclasses.replace(contact, step=step, harmful=harmful, onset=True)
    return dataclasses.replace(episode, contacts=(contact,))


def redness(frame):
    return int((np.abs(frame.astype(int) - RED).max(-1) < 12).sum())


def test_the_camera_picture_is_upright_and_not_mirrored(episode):
    frame = next(iter(draw_frames(episode)))
    view = frame[:384, :384]
    assert view[350:, 350:, 1].mean() > 200
    assert view[:200, :, 1].mean() < 40
    assert view[:, :200, 1].mean() < 40


def test_a_harmful_contact_shows_in_its_step_and_stays_on_the_time_line(episode):
    frames = list(draw_frames(with_contact(episode, 2, harmful=True)))
    meant = list(draw_frames(with_contact(episode, 2, harmful=False)))
    assert redness(frames[1]) == 0
    assert redness(frames[2]) > redness(frames[3]) > 100
    assert redness(meant[2]) == 0


def test_higher_risk_draws_longer_bars(episode):
    def drawn(value):
        risk = np.full((2, 7), value).astype(np.float32)
        queries = dataclasses.replace(episode.queries, step=np.array([0, 3], np.int32), risk=risk)
        return redness(next(iter(draw_frames(dataclasses.replace(episode, queries=queries)))))

    assert 0 == drawn(0.0) < drawn(0.6) < drawn(0.9)


def test_the_film_has_a_frame_per_step_and_ends_on_a_second_of_the_last(episode, tmp_path):
    path = tmp_path / "videos" / "one.mp4"
    write_video(path, episode)
    frames = imageio_ffmpeg.read_frames(str(path))
    meta = next(frames)
    assert meta["size"] == (512, 448)
    assert len(list(frames)) == 5 + 20
    assert [one.name for one in path.parent.iterdir()] == ["one.mp4"]


def test_an_episode_without_all_its_pictures_is_refused(episode, tmp_path):
    thin = dataclasses.replace(episode, steps=thin_images(episode.steps, "query", 4))
    kept = [bool(jpeg) for jpeg in thin.steps.images["agentview"]]
    assert kept == [True, False, False, False, True, False]
    with pytest.raises(ValueError, match="no picture of every step"):
        write_video(tmp_path / "one.mp4", thin)
    assert not thin_images(episode.steps, "none", 4).images
