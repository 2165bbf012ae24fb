"""What is known to be wrong at the start is refused before a policy is read or a worker started."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mist_jax.episodes.writer import EpisodeWriter
from tests.helpers.episode_samples import INFO, random_episode

ROOT = Path(__file__).parents[2]

# The binary as it is, but where reading parameters, reading episodes or starting workers is fatal.
_RUN = """
import importlib, sys
from mist_jax.commands.start import binary
import mist_jax.episodes.reader, mist_jax.loading, mist_jax.rollout.fleet

def late(*_, **__):
    raise AssertionError("too late")

mist_jax.loading.load_policy = mist_jax.loading.restore_parameters = late
mist_jax.episodes.reader.read_episodes = mist_jax.rollout.fleet.Fleet.__init__ = late
binary.run(importlib.import_module(sys.argv[0]))
"""


def refusal(name, *flags, **environment):
    code = f"import sys; sys.argv[0] = 'mist_jax.commands.{name}'\n{_RUN}"
    result = subprocess.run(
        [sys.executable, "-c", code, *flags],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


WRONG = {
    "--sites=nonsense": "unknown site 'nonsense'",
    "--sites=llm.resid,nonsense": "unknown site 'nonsense'",
    "--layers=77": "no layer 77",
}


@pytest.mark.parametrize("flag", WRONG)
@pytest.mark.parametrize("name", ["collect_failure_data", "run_evaluation"])
def test_unknown_sites_and_layers_are_refused_before_the_policy_is_read(tmp_path, name, flag):
    out = tmp_path / "out"
    folder = f"--{'save_dir' if name.startswith('collect') else 'output_dir'}={out}"
    given = ["--interventions=none"] if name == "run_evaluation" else []
    assert WRONG[flag] in refusal(name, folder, flag, *given, "--assets=lite")
    assert not out.exists()


@pytest.mark.parametrize("gl", ["nonsense", "disable"])
@pytest.mark.parametrize("name", ["collect_failure_data", "run_evaluation"])
def test_a_gl_back_end_that_cannot_be_is_refused_before_the_policy_is_read(tmp_path, name, gl):
    out = tmp_path / "out"
    folder = f"--{'save_dir' if name.startswith('collect') else 'output_dir'}={out}"
    given = ["--interventions=none"] if name == "run_evaluation" else []
    assert f"MUJOCO_GL={gl}" in refusal(name, folder, *given, MUJOCO_GL=gl)
    assert not out.exists()


@pytest.mark.parametrize(
    "flag",
    [
        "--perturbation_onset=60,10",
        "--perturbation_onset=10,99999999999999999999999",
        "--perturbation_length=0,5",
        "--perturbation_length=1,99999999999",
        "--perturbation_strength=0.5,1e300",
        "--perturbation_strength=-1,1",
    ],
)
def test_ranges_of_perturbations_that_cannot_be_drawn_are_refused_at_the_start(tmp_path, flag):
    said = refusal(
        "collect_failure_data", f"--save_dir={tmp_path / 'out'}", "--perturbation=mixed", flag
    )
    assert "the perturbation's" in said


@pytest.mark.parametrize(
    ("name", "flag", "expected"),
    [
        ("train_risk_predictor", "--sites=llm.attn", "stored sites: llm.resid, vision"),
        ("extract_steering_vectors", "--site=llm.attn", "stored sites: llm.resid, vision"),
        ("extract_steering_vectors", "--layers=2", "which holds [1, 3, 5]"),
        ("extract_steering_vectors", "--layers=9", "no layer 9"),
    ],
)
def test_what_a_dataset_does_not_hold_is_refused_before_it_is_read(tmp_path, name, flag, expected):
    with EpisodeWriter(tmp_path / "data", INFO) as writer:
        writer.append(random_episode())
    given = [f"--data_dir={tmp_path / 'data'}", f"--output_dir={tmp_path / 'out'}"]
    assert expected in refusal(name, *given, flag)


@pytest.mark.parametrize("name", ["train_risk_predictor", "extract_steering_vectors"])
def test_nothing_is_learnt_from_scenes_to_report_on(tmp_path, name):
    with EpisodeWriter(tmp_path / "data", INFO) as writer:
        for state in (1000, 7000):
            made = random_episode()
            key = dataclasses.replace(made.key, initial_state=state)
            writer.append(dataclasses.replace(made, key=key))
    given = [f"--data_dir={tmp_path / 'data'}", f"--output_dir={tmp_path / 'out'}"]
    said = refusal(name, *given)
    assert "is of a study scene, which is there to report on" in said
    assert "7000" in said
