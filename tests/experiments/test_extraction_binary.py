"""What the extraction writes, as typed: a steering bank of several folders, a causal bank."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from mist_jax.episodes.dataset_info import DatasetInfo, Site
from mist_jax.episodes.index import dataset_hash
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.steering.bank import BankMetadata, Directions, SteeringBank
from mist_jax.steering.causal.checkpoint import restore_causal_bank
from mist_jax.steering.checkpoint import restore_bank, save_bank
from tests.helpers.causal_states import pictured_episode
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


def test_data_with_pictures_give_a_causal_bank(tmp_path):
    card = save_tiny_policy(tmp_path / "policy")
    info = DatasetInfo(
        model=card.identity,
        assets="lite",
        suites=("libero_spatial",),
        sites={SITE: Site((0,), 4)},
        images="query",
        camera_res=64,
    )
    data = tmp_path / "data"
    with EpisodeWriter(data, info) as writer:
        for scene in range(6):
            writer.append(pictured_episode(scene, model=card.identity, side=64, seed=scene))
    old = Directions("contrast", ("x+",), np.ones((1, 2, 4), np.float32) / 2)
    metadata = BankMetadata(layers=(1, 2), model=card.identity, dataset_hash="of older data")
    save_bank(tmp_path / "out", SteeringBank.join([old], np.ones(2), 3, metadata))
    (tmp_path / "out" / "summary.json").write_text('{"methods": {"contrast": {}}}')
    done = extract(
        f"--data_dir={data}", f"--model_name={tmp_path / 'policy'}", "--methods=",
        f"--output_dir={tmp_path / 'out'}", "--causal_measured=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bank = restore_causal_bank(tmp_path / "out")
    assert bank.metadata.layer == SMALL.layers - 2
    assert bank.metadata.dataset_hash == dataset_hash(data)
    assert bank.metadata.instructions == ("pick up bowl 0", "pick up bowl 1")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert set(summary["causal"]["effects"]) == {"table", "linear", "exact"}
    assert (
        "no unsteered episode has a harmful contact"
        in summary["causal"]["intents"]["along_normal"]["absent"]
    )
    assert "of 2" in done.stdout  # the sign was right in so many of two states
    assert not (tmp_path / "out" / "steering_bank").exists(), "it was of other data"
    assert "methods" not in summary


def test_a_causal_bank_without_pictures_is_refused_early(tmp_path):
    info = DatasetInfo(model="tiny@1", assets="lite", suites=("libero_spatial",))
    with EpisodeWriter(tmp_path / "data", info):
        pass
    for flags, message in (
        (["--causal_layers=1"], "keeps no pictures, which a Jacobian needs"),
        (["--methods="], "there is nothing to do"),
        (["--causal_layers=none", "--branches=b"], "intents belong to a causal bank"),
    ):
        done = extract(f"--data_dir={tmp_path / 'data'}", f"--output_dir={tmp_path / 'o'}", *flags)
        assert done.returncode == 1
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
