"""The export for LeRobot: the mapping and refusals here, the library where it is installed."""

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mist_jax.episodes.export.lerobot import export_lerobot
from mist_jax.episodes.export.lerobot_frames import FRAMES, lerobot_features, lerobot_frames
from mist_jax.episodes.reader import load_episodes
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from mist_jax.record.episode import Episode
from mist_jax.record.picture import decode_picture
from tests.helpers import synthetic_episodes
from tests.helpers.episode_samples import INFO, random_episode

HAS_LEROBOT = importlib.util.find_spec("lerobot") is not None
WITH_PICTURES = dataclasses.replace(INFO, images="step")
SIGNED = ["x+", "x-", "y+", "y-", "z+", "z-", "roll+", "roll-"]
SIGNED += ["pitch+", "pitch-", "yaw+", "yaw-", "gripper+", "gripper-"]


def collect(directory: Path, outcomes=("success", "crashed", "failure"), info=WITH_PICTURES):
    with EpisodeWriter(directory, info) as writer:
        for seed, outcome in enumerate(outcomes):
            # An episode's time limit, reward and the like are of no account here.
            episode = random_episode(info, seed, instruction=f"pick up bowl {seed % 2}")
            writer.append(dataclasses.replace(episode, outcome=outcome))


def frames_of(episode: Episode) -> dict[str, np.ndarray]:
    frames = list(lerobot_frames(episode, WITH_PICTURES))
    return {name: np.array([frame[name] for frame in frames]) for name in frames[0]}


def test_the_features_are_those_of_lerobots_libero_and_policies_take_no_other():
    features = lerobot_features(WITH_PICTURES, videos=False)
    # Only such names are a policy's inputs and outputs to LeRobot.
    theirs = {name for name in features if name.startswith(("observation", "action"))}
    pictures = {"observation.images.image", "observation.images.image2"}
    assert theirs == {*pictures, "observation.state", "action"}
    assert features["observation.state"]["shape"] == (8,)
    assert features["action"]["shape"] == (7,)
    assert features["risk"]["names"] == SIGNED
    for name in pictures:
        assert features[name]["dtype"] == "image"
        assert features[name]["shape"] == (16, 16, 3)
    assert not any("/" in name for name in features)


def test_frames_have_the_dtypes_and_shapes_that_the_features_declare():
    features = lerobot_features(WITH_PICTURES, videos=False)
    (frame, *others) = lerobot_frames(random_episode(WITH_PICTURES), WITH_PICTURES)
    assert len(others) == 11
    assert set(frame) == {*features, "task"}
    assert frame["task"] == "pick up the bowl"
    for name, declared in features.items():
        dtype = "uint8" if declared["dtype"] == "image" else declared["dtype"]
        assert (frame[name].dtype.name, frame[name].shape) == (dtype, declared["shape"]), name


def test_every_frame_holds_its_own_steps_record():
    episode = dataclasses.replace(random_episode(WITH_PICTURES, 4), outcome="success")
    found, steps = frames_of(episode), episode.steps
    np.testing.assert_array_equal(found["action"], steps.action)
    np.testing.assert_array_equal(found["commanded"], steps.commanded)
    np.testing.assert_array_equal(found["joint_position"], steps.joint_pos)
    np.testing.assert_array_equal(found["perturbed"][:, 0], steps.perturbed)
    np.testing.assert_array_equal(found["next.reward"][:, 0], steps.reward)
    np.testing.assert_array_equal(found["observation.state"][:, :3], steps.eef_pos)
    np.testing.assert_array_equal(found["observation.state"][:, 6:], steps.gripper_qpos)
    assert found["next.done"][:, 0].tolist() == [False] * 11 + [True]
    assert found["next.success"][:, 0].tolist() == [False] * 11 + [True]
    assert found["scene"].tolist() == [[0, 7, 4]] * 12
    for number in range(12):
        for name, camera in (("image", "agentview"), ("image2", "robot0_eye_in_hand")):
            wanted = decode_picture(steps.images[camera][number])
            np.testing.assert_array_equal(found[f"observation.images.{name}"][number], wanted)


def test_the_states_rotation_is_the_quaternions_axis_and_angle():
    turned = Rotation.from_rotvec(np.random.default_rng(0).normal(size=(12, 3)))
    episode = random_episode(WITH_PICTURES)
    steps = dataclasses.replace(episode.steps, eef_quat=turned.as_quat().astype(np.float32))
    found = frames_of(dataclasses.replace(episode, steps=steps))["observation.state"][:, 3:6]
    again = Rotation.from_rotvec(found)
    assert (again * turned.inv()).magnitude().max() < 1e-5


def test_only_a_success_is_told_as_one():
    episode = dataclasses.replace(random_episode(WITH_PICTURES), outcome="failure")
    found = frames_of(episode)
    assert found["next.done"].sum() == 1
    assert not found["next.success"].any()


def test_harmful_contacts_are_told_step_by_step_and_harmless_ones_are_not():
    contacts = [
        synthetic_episodes.contact(3, {0: 1.0}),
        synthetic_episodes.contact(4, onset=False),
        synthetic_episodes.contact(6, {2: 1.0}, harmful=False),
        dataclasses.replace(synthetic_episodes.contact(8, {1: 0.75, 5: 0.25}), peak_force=9.0),
        synthetic_episodes.contact(8, {2: 1.0}, pair=("hand", "table")),
    ]
    episode = synthetic_episodes.episode(contacts, length=16)
    columns = {one.name: one.of(episode) for one in FRAMES}
    assert np.flatnonzero(columns["contact.harmful"]).tolist() == [3, 4, 8]
    assert columns["contact.peak_force"][[3, 4, 6, 8], 0].tolist() == [2.0, 2.0, 0.0, 9.0]
    share = columns["contact.onset_share"]
    assert np.flatnonzero(share.any(axis=1)).tolist() == [3, 8]
    assert share[8].tolist() == [0, 0.75, 0, 0, 0, 0.25, 0]  # the stronger one's


def test_risk_is_that_of_the_last_query_and_none_before_the_first():
    episode = random_episode(WITH_PICTURES, 1, queries=3)
    queries = dataclasses.replace(episode.queries, step=np.array([2, 5, 9], np.int32))
    found = frames_of(dataclasses.replace(episode, queries=queries))
    of_step = [None, None, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    assert queries.risk is not None
    for step, query in enumerate(of_step):
        assert found["risk_known"][step, 0] == (query is not None)
        wanted = np.zeros(14) if query is None else queries.risk[query]
        np.testing.assert_array_equal(found["risk"][step], wanted)
    without = dataclasses.replace(queries, risk=None)
    found = frames_of(dataclasses.replace(episode, queries=without))
    assert not found["risk_known"].any()
    assert not found["risk"].any()


@pytest.mark.skipif(HAS_LEROBOT, reason="lerobot is installed")
def test_without_lerobot_one_line_says_how_to_get_it(tmp_path: Path):
    command = [sys.executable, "-m", "experiments.export_lerobot"]
    command += ["--data_dir", str(tmp_path), "--output_dir", str(tmp_path / "out")]
    root = Path(__file__).parents[2]
    result = subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 1
    assert "pip install 'mist_jax[lerobot]'" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcomes=("success",)) -> str:
    """What is said, whether lerobot is there or not, before it is imported."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UserError) as error:
        export_lerobot(tmp_path / "data", tmp_path / "out", "bowls", outcomes)
    assert not (tmp_path / "out").exists()
    return str(error.value)


def test_a_dataset_without_a_picture_per_step_is_refused(tmp_path: Path, monkeypatch):
    collect(tmp_path / "data", info=dataclasses.replace(INFO, images="query"))
    assert "--images=step" in refused(tmp_path, monkeypatch)


def test_outcomes_that_no_episode_has_are_refused(tmp_path: Path, monkeypatch):
    collect(tmp_path / "data", ["failure"])
    assert "no episode with outcome success" in refused(tmp_path, monkeypatch)


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path, monkeypatch):
    (tmp_path / "data").mkdir()
    assert "holds no episode dataset" in refused(tmp_path, monkeypatch)


PICTURES = ("observation.images.image", "observation.images.image2")


def film_of(folder: Path, name: str) -> list[np.ndarray]:
    import av  # pyright: ignore[reportMissingImports]

    (path,) = (folder / "videos" / name).rglob("*.mp4")
    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


needs_lerobot = pytest.mark.skipif(
    not HAS_LEROBOT, reason="needs lerobot (extra lerobot, in an environment of its own)"
)


@needs_lerobot
@pytest.mark.slow
@pytest.mark.parametrize("pictures", ["image", "video"])
def test_lerobot_reads_back_what_was_exported(tmp_path: Path, pictures, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from lerobot.datasets.lerobot_dataset import (  # pyright: ignore[reportMissingImports]
        LeRobotDataset,
    )

    info = WITH_PICTURES
    if pictures == "video":  # the encoder takes no smaller ones
        info = dataclasses.replace(info, camera_res=64)
    collect(tmp_path / "data", info=info)
    told = []
    folder = export_lerobot(
        tmp_path / "data",
        tmp_path / "out",
        "bowls",
        ["success", "failure"],
        pictures=pictures,
        progress=lambda *numbers: told.append(numbers),
    )
    assert told == [(1, 2), (2, 2)]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["bowls"]
    stored = load_episodes(tmp_path / "data", images=True)
    episodes = [one for one in stored if one.outcome != "crashed"]
    read = LeRobotDataset("bowls", root=folder)
    assert (read.fps, read.num_episodes, read.num_frames) == (20, 2, 24)
    assert read.meta.robot_type == "panda"
    films = {}
    if pictures == "video":  # what decodes them to LeRobot depends on what is installed
        films = {name: film_of(folder, name) for name in PICTURES}
    at = 0
    for number, episode in enumerate(episodes):
        frames = list(lerobot_frames(episode, info))
        for step, frame in enumerate(frames):
            item = read.hf_dataset[at] if films else read[at]
            assert int(item["episode_index"]) == number
            assert int(item["frame_index"]) == step
            assert float(item["timestamp"]) == pytest.approx(step / 20, abs=1e-6)
            assert read.meta.tasks.iloc[int(item["task_index"])].name == episode.instruction
            for one in FRAMES:
                found = np.asarray(item[one.name]).reshape(-1)
                np.testing.assert_array_equal(found, frame[one.name], one.name)
            for name in PICTURES:
                if films:
                    # Noise is the worst there is for a film; that it is the same noise counts.
                    apart = np.abs(films[name][at].astype(float) - frame[name]).mean()
                    other = np.abs(films[name][at].astype(float) - frames[step - 1][name]).mean()
                    assert apart < 0.8 * other, (name, apart, other)
                else:
                    shown = np.asarray(item[name]).transpose(1, 2, 0) * 255
                    np.testing.assert_allclose(shown, frame[name], atol=1e-3)
            at += 1
    with pytest.raises(UserError, match="exists already"):
        export_lerobot(tmp_path / "data", tmp_path / "out", "bowls", ["success"])


@needs_lerobot
@pytest.mark.slow
def test_an_export_that_fails_leaves_nothing_behind(tmp_path: Path):
    collect(tmp_path / "data")
    seen = []

    def stop(done: int, total: int) -> None:
        seen.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_lerobot(tmp_path / "data", tmp_path / "out", "bowls", ["success"], progress=stop)
    assert seen == [1]
    assert list((tmp_path / "out").iterdir()) == []
