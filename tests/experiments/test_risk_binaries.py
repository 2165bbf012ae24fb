"""The three binaries on a stored dataset, start to end: their files, agreement, and bad input."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mist_jax.episodes.dataset_info import DatasetInfo, Site
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.risk.study.checkpoint import restore_risk_head
from mist_jax.steering.checkpoint import restore_bank
from tests.helpers.rollout_samples import SMALL, save_tiny_policy
from tests.helpers.synthetic_episodes import SITE, study_episodes

ROOT = Path(__file__).parents[2]


def run(name: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"experiments.{name}", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> tuple[Path, Path]:
    """A dataset whose layer 1 knows of contacts along x, and the policy it is said to be of."""
    folder = tmp_path_factory.mktemp("stored")
    card = save_tiny_policy(folder / "policy")
    layers = tuple(range(SMALL.layers))

    def when(activation, step, rng):
        return activation[:, 1, 0] > 0.8

    episodes = study_episodes(
        when, scenes=45, layers=layers, width=SMALL.width, model=card.identity
    )
    info = DatasetInfo(
        model=card.identity,
        assets="lite",
        suites=("libero_spatial",),
        sites={SITE: Site(layers, SMALL.width)},
    )
    with EpisodeWriter(folder / "data", info) as writer:
        for number, episode in enumerate(episodes):
            # One in three fails: detectors of failure find both outcomes in every fold.
            writer.append(replace(episode, outcome="success" if number % 3 else "failure"))
    return folder / "data", folder / "policy"


def test_train_then_extract_then_analyze(stored, tmp_path):
    data, policy = stored
    risk, bank, again = tmp_path / "risk", tmp_path / "bank", tmp_path / "again"
    trained = run(
        "train_risk_predictor",
        f"--data_dir={data}",
        f"--output_dir={risk}",
        "--horizon=8",
        "--hidden=16",
        "--learning_rate=0.01",
        "--target=all",
        "--detectors=clock,SAFE-LSTM",
        "--safe_epochs=20",
    )
    assert trained.returncode == 0, trained.stderr
    assert "First events, within tasks" in trained.stdout
    assert "Warning" not in trained.stderr
    head, metadata = restore_risk_head(risk)
    assert (int(head.layer), metadata.horizon) == (metadata.layer, 8)
    assert isinstance(head, RiskHead)
    reads = np.abs(head.gain).mean(axis=-1)  # [E, layers]
    assert (reads.argmax(axis=-1) == 1).all()
    assert metadata.choices["layer 1"] < min(metadata.choices[f"layer {i}"] for i in (0, 2))

    extracted = run(
        "extract_steering_vectors",
        f"--data_dir={data}",
        f"--model_name={policy}",
        f"--output_dir={bank}",
        "--methods=contrast,linear,value_vectors,random",
        "--layers=1-2",
        "--horizon=8",
    )
    assert extracted.returncode == 0, extracted.stderr
    found = restore_bank(bank)
    assert found.vectors.shape[1:] == (SMALL.layers, SMALL.width)
    assert not np.asarray(found.vectors)[:, [0, 3]].any()
    assert set(found.methods) == {"contrast", "linear", "value_vectors", "random"}
    assert found.method("contrast").names == ("x+", "x-")
    summary = json.loads((bank / "summary.json").read_text())
    assert "gripper+" in summary["methods"]["contrast"]["absent"]

    analyzed = run(
        "analyze",
        f"--risk_head={risk}",
        f"--steering_vectors={bank}",
        f"--data_dir={data}",
        f"--output_dir={again}",
    )
    assert analyzed.returncode == 0, analyzed.stderr
    before, after = (json.loads((f / "metrics.json").read_text()) for f in (risk, again))
    assert before == after
    assert "SAFE-LSTM" in after["detectors"]
    assert "| SAFE-LSTM |" in (again / "table.md").read_text()
    drawn = {path.name for path in (again / "plots").iterdir()}
    assert {path.name for path in (risk / "plots").iterdir()} <= drawn
    assert "steering_cosines.png" in drawn


@pytest.mark.parametrize(
    ("name", "flags", "says"),
    [
        (
            "train_risk_predictor",
            ["--data_dir=nowhere", "--output_dir=out"],
            "there is no folder nowhere",
        ),
        ("train_risk_predictor", ["--data_dir=d", "--output_dir=o", "--horizon=0"], "horizon"),
        ("train_risk_predictor", ["--data_dir=d", "--output_dir=o", "--split=step"], "split"),
        ("train_risk_predictor", ["--output_dir=o"], "data_dir"),
        (
            "train_risk_predictor",
            ["--data_dir=d", "--output_dir=o", "--detector=clock"],
            "no detector 'clock' can open gates; there are head",
        ),
        (
            "train_risk_predictor",
            ["--data_dir=d", "--output_dir=o", "--detectors=clocks"],
            "no detector 'clocks'; there are head",
        ),
        (
            "extract_steering_vectors",
            ["--data_dir=d", "--output_dir=o", "--methods=pca"],
            "no steering method",
        ),
        ("analyze", ["--risk_head=nowhere", "--data_dir=d", "--output_dir=o"], "not a risk head"),
    ],
)
def test_bad_flags_end_with_one_line(name, flags, says):
    ended = run(name, *flags)
    assert ended.returncode == 1
    assert says in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
