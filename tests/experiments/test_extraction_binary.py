"""Directions from data in several folders, as typed: one bank, with the hash of all of them."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from mist_jax.episodes.dataset_info import DatasetInfo, Site
from mist_jax.episodes.index import dataset_hash
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.steering.checkpoint import restore_bank
from tests.helpers.rollout_samples import SMALL, save_tiny_policy
from tests.helpers.synthetic_episodes import SITE, study_episodes

ROOT = Path(__file__).parents[2]


def extract(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.extract_steering_vectors", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)


def test_folders_are_extracted_from_as_one(tmp_path):
    card = save_tiny_policy(tmp_path / "policy")
    layers = tuple(range(SMALL.layers))
    episodes = study_episodes(
        lambda activation, step, rng: rng.random(len(step)) < 0.3,
        scenes=20, layers=layers, width=SMALL.width, model=card.identity,
    )  # fmt: skip
    info = DatasetInfo(
        model=card.identity,
        assets="lite",
        suites=("libero_spatial",),
        sites={SITE: Site(layers, SMALL.width)},
        activation_dtype="float16",
    )
    folders = [tmp_path / name for name in ("all", "a", "b")]
    for folder, some in zip(folders, (episodes, episodes[:9], episodes[9:]), strict=True):
        with EpisodeWriter(folder, info) as writer:
            for episode in some:
                writer.append(episode)
    whole, *parts = folders
    banks = []
    for name, data in (("one", str(whole)), ("two", ",".join(map(str, parts)))):
        done = extract(
            f"--data_dir={data}", f"--model_name={tmp_path / 'policy'}", "--horizon=8",
            f"--output_dir={tmp_path / name}", "--methods=contrast",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        banks.append(restore_bank(tmp_path / name))
    one, two = banks
    assert one.metadata.dataset_hash == two.metadata.dataset_hash == dataset_hash(whole)
    assert one.names == two.names == ("x+", "x-")
    np.testing.assert_array_equal(one.vectors, two.vectors)
    twice = extract(
        f"--data_dir={whole},{parts[0]}", f"--model_name={tmp_path / 'policy'}",
        f"--output_dir={tmp_path / 'twice'}",
    )  # fmt: skip
    assert twice.returncode == 1
    assert "name only one" in twice.stderr
    assert "Traceback" not in twice.stderr
