"""Videos: one frame per step, upright, contacts and outcome visible, and whole or absent."""

import dataclasses
import sys
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest

from mist_jax.episodes.reader import load_episodes
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from mist_jax.rollout.collection import OutcomeTally
from mist_jax.rollout.sinks import film
from mist_jax.rollout.sinks.dataset import DatasetSink, thin_images
from mist_jax.rollout.sinks.film import FilmError, draw_frames, write_video
from mist_jax.rollout.sinks.video import VideoSink, video_name
from tests.helpers.episode_samples import INFO, filmed_episode, random_episode

RED = np.array([255, 90, 79])


@pytest.fixture
def episode():
    return filmed_episode()


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
        risk = np.full((2, 14), value).astype(np.float32)
        queries = dataclasses.replace(episode.queries, step=np.array([0, 3], np.int32), risk=risk)
        return redness(next(iter(draw_frames(dataclasses.replace(episode, queries=queries)))))

    assert 0 == drawn(0.0) < drawn(0.6) < drawn(0.9)


def forecast(episode, risk: float, threshold=None, steered=()):
    """The first frame of the episode with its second way of x at some risk, all else at none."""
    values = np.zeros((2, 14), np.float32)
    values[:, 1] = risk
    gate = np.zeros((2, 5), np.float32)
    gate[list(steered), 3] = 0.1
    queries = dataclasses.replace(
        episode.queries, step=np.array([0, 3], np.int32), risk=values, gate=gate
    )
    return list(draw_frames(dataclasses.replace(episode, queries=queries), threshold))


def test_a_bar_is_red_from_its_own_ways_threshold_on_and_a_line_shows_it(episode):
    def level(value):
        return (*(None,), value, *(None,) * 12)

    quiet, alarmed = (forecast(episode, risk, level(0.3))[0] for risk in (0.29, 0.31))
    assert redness(quiet) == 0 < redness(alarmed)
    # Where no motion can alarm, no bar is red.
    assert redness(forecast(episode, 0.9, (None,) * 14)[0]) == 0
    # The line stands where the threshold is, over the track of x alone.
    left, right = (forecast(episode, 0.0, level(value))[0] for value in (0.2, 0.8))
    rows, columns = np.nonzero((left != right).any(axis=-1))
    assert 38 <= rows.min() <= rows.max() < 38 + 48
    span = 512 - 12 - (384 + 12)
    assert columns.min() == pytest.approx(384 + 12 + 0.2 * span, abs=2)
    assert columns.max() == pytest.approx(384 + 12 + 0.8 * span, abs=2)


def test_steered_queries_have_a_frame_and_stay_on_the_time_line(episode):
    def teal(frame):
        return int((np.abs(frame.astype(int) - [45, 212, 191]).max(-1) < 12).sum())

    never, second = forecast(episode, 0.0), forecast(episode, 0.0, steered=[1])
    assert [teal(frame) for frame in never] == [0] * len(never)
    assert [teal(frame) > 0 for frame in second[:6]] == [False] * 3 + [True] * 3
    both = forecast(episode, 0.0, steered=[0])
    assert teal(both[0]) > teal(both[3]) > 0  # the frame goes, the time line stays
    edited = dataclasses.replace(
        episode.queries, step=np.array([0, 3], np.int32), edited=np.array([True, False])
    )
    frames = list(draw_frames(dataclasses.replace(episode, queries=edited)))
    assert teal(frames[0]) > teal(frames[3]) > 0


def test_the_film_has_a_frame_per_step_and_ends_on_a_second_of_the_last(episode, tmp_path):
    path = tmp_path / "videos" / "one.mp4"
    write_video(path, episode)
    frames = imageio_ffmpeg.read_frames(str(path))
    meta = next(frames)
    assert meta["size"] == (512, 462)
    assert len(list(frames)) == 5 + 20
    assert [one.name for one in path.parent.iterdir()] == ["one.mp4"]


def test_an_episode_without_all_its_pictures_is_refused(episode, tmp_path):
    thin = dataclasses.replace(episode, steps=thin_images(episode.steps, "query", 4))
    kept = [bool(jpeg) for jpeg in thin.steps.images["agentview"]]
    assert kept == [True, False, False, False, True, False]
    with pytest.raises(ValueError, match="no picture of every step"):
        write_video(tmp_path / "one.mp4", thin)
    assert not thin_images(episode.steps, "none", 4).images


FAILURES = {
    "fails": ("sys.stdin.buffer.read(); sys.exit('Error: no such codec')", "no such codec"),
    "fails at once": ("sys.exit('Error: no memory')", "no memory"),
    "is killed": ("sys.stdin.buffer.read(100); os.kill(os.getpid(), 9)", "status -9"),
    "leaves half a film": (
        "open(sys.argv[-1], 'wb').write(b'half'); sys.exit('No space left on device')",
        "No space left",
    ),
    "leaves nothing": ("sys.stdin.buffer.read()", "status 0"),
}


def broken_ffmpeg(tmp_path, monkeypatch, code):
    """An encoder that does something else."""
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!{sys.executable}\nimport os, sys\n{code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))


@pytest.mark.parametrize("failure", FAILURES)
def test_a_video_that_ffmpeg_could_not_finish_is_not_published(
    episode, tmp_path, monkeypatch, failure
):
    code, reason = FAILURES[failure]
    broken_ffmpeg(tmp_path, monkeypatch, code)
    path = tmp_path / "videos" / "one.mp4"
    with pytest.raises(FilmError, match=reason) as error:
        write_video(path, episode)
    assert "\n" not in str(error.value)
    assert list(path.parent.iterdir()) == []


def test_an_ffmpeg_that_hangs_is_ended(episode, tmp_path, monkeypatch):
    broken_ffmpeg(tmp_path, monkeypatch, "import time; time.sleep(3600)")
    monkeypatch.setattr(film, "_SECONDS_TO_FINISH", 1.0)
    with pytest.raises(FilmError, match="status -9"):
        write_video(tmp_path / "one.mp4", episode)


def test_a_failed_video_costs_neither_its_episode_nor_the_run_and_is_told(
    episode, tmp_path, monkeypatch
):
    broken_ffmpeg(tmp_path, monkeypatch, FAILURES["fails"][0])
    info, told = dataclasses.replace(INFO, camera_res=32), []
    episodes = [
        dataclasses.replace(episode, key=dataclasses.replace(episode.key, seed=seed))
        for seed in range(3)
    ]
    with EpisodeWriter(tmp_path / "data", info) as writer:
        films = VideoSink(tmp_path / "data", "all", told.append)
        for one in episodes:
            for sink in (DatasetSink(writer), films):
                sink.put(one)
    assert films.failed == 3
    for one, line in zip(episodes, told, strict=True):
        assert video_name(one.key).removeprefix("videos/") in line
    assert all("no such codec" in line and "stored" in line for line in told)
    assert [one.key for one in load_episodes(tmp_path / "data")] == [one.key for one in episodes]
    assert list((tmp_path / "data" / "videos").iterdir()) == []


def test_the_dataset_takes_an_episode_before_its_video_is_drawn(tmp_path, monkeypatch):
    from mist_jax.rollout import fill

    order = []
    monkeypatch.setattr(fill, "run", lambda source, fleet, actor, sinks: order.extend(sinks))

    class Source:
        missing = 1

    class NoFleet:
        replaced = 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    parts: Any = (Source(), NoFleet, None)
    fill.fill_dataset(tmp_path, INFO, *parts, verb="testing", tally=OutcomeTally(), video="all")
    kinds = [type(sink) for sink in order]
    assert kinds.index(DatasetSink) < kinds.index(VideoSink)


def test_videos_without_an_encoder_or_a_folder_are_refused_before_the_run(tmp_path, monkeypatch):
    (tmp_path / "videos").write_text("a file")
    with pytest.raises(UserError, match="no videos can be written"):
        VideoSink(tmp_path, "all")

    def absent():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(film.imageio_ffmpeg, "get_ffmpeg_exe", absent)
    with pytest.raises(UserError, match="leave --save_video out"):
        VideoSink(tmp_path / "other", "all")
    VideoSink(tmp_path, "none")


def test_what_a_killed_run_left_half_drawn_is_removed(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "one.mp4.partial").write_text("half")
    VideoSink(tmp_path, "all")
    assert list((tmp_path / "videos").iterdir()) == []


def test_no_name_leads_a_video_out_of_its_folder(episode):
    key = dataclasses.replace(episode.key, suite="../../away", arm="/etc/passwd")
    assert video_name(key).count("/") == 1
    assert video_name(key).startswith("videos/")
