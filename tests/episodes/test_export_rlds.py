"""The export to TFRecord: clear refusals here, the real thing where TensorFlow is installed."""

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from mist_jax.episodes.writer import EpisodeWriter
from tests.helpers.episode_samples import INFO, random_episode

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None

# What dlimp, and with it OpenVLA and Octo, do first: whole episodes, the metadata once per step.
_TRAINER = """
import sys, tensorflow as tf, tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1])
dataset = builder.as_dataset(split="train", decoders={"steps": tfds.decode.SkipDecoding()})
for episode in dataset:
    steps = episode.pop("steps")
    length = len(steps["action"])
    metadata = tf.nest.map_structure(lambda x: tf.repeat(x, length), episode)
    seeds = metadata["episode_metadata"]["seed"]
    print(length, seeds.shape[0], steps["observation"]["state"].shape)
for episode in builder.as_dataset(split="train"):
    print([step["observation"]["wrist_image"].shape for step in episode["steps"]][0])
"""


def export(data_dir: Path, output_dir: Path, *flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments.export_rlds"]
    command += ["--data_dir", str(data_dir), "--output_dir", str(output_dir), *flags]
    root = Path(__file__).parents[2]
    return subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=False, timeout=300
    )


def collect(directory: Path, images) -> None:
    info = dataclasses.replace(INFO, images=images)
    with EpisodeWriter(directory, info) as writer:
        for seed in range(3):
            episode = random_episode(info, seed)
            writer.append(dataclasses.replace(episode, outcome=["success", "crashed"][seed % 2]))


@pytest.mark.skipif(HAS_TENSORFLOW, reason="TensorFlow is installed")
def test_without_tensorflow_one_line_says_how_to_get_it(tmp_path: Path):
    result = export(tmp_path, tmp_path / "out")
    assert result.returncode == 1
    assert "pip install 'mist_jax[rlds]'" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_bad_name_is_refused_before_any_work(tmp_path: Path):
    result = export(tmp_path, tmp_path / "out", "--name", "Not A Name")
    assert result.returncode == 1
    assert "lower-case word" in result.stderr


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TENSORFLOW, reason="needs TensorFlow (extra rlds)")
def test_trainers_on_rlds_read_the_export(tmp_path: Path):
    collect(tmp_path / "dataset", "step")
    result = export(tmp_path / "dataset", tmp_path / "out", "--name", "bowls")
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "out" / "bowls" / "1.0.0"
    trainer = subprocess.run(
        [sys.executable, "-c", _TRAINER, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert trainer.returncode == 0, trainer.stderr
    assert trainer.stdout.splitlines() == ["12 12 (12, 8)"] * 2 + ["(16, 16, 3)"] * 2
    again = export(tmp_path / "dataset", tmp_path / "out", "--name", "bowls")
    assert again.returncode == 1
    assert "exists already" in again.stderr


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TENSORFLOW, reason="needs TensorFlow (extra rlds)")
def test_a_dataset_without_a_picture_per_step_is_refused(tmp_path: Path):
    collect(tmp_path / "dataset", "query")
    result = export(tmp_path / "dataset", tmp_path / "out")
    assert result.returncode == 1
    assert "--images=step" in result.stderr
    assert not (tmp_path / "out").exists()
