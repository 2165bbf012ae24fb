"""The commands of the scripts that users run: the binaries take every one of them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mist_jax.risk.study.registry import chosen

ROOT = Path(__file__).parents[2]
JOB = (
    "collect_failure_data", "train_risk_predictor", "extract_steering_vectors", "run_evaluation",
)  # fmt: skip
STUDY = (
    *["collect_failure_data"] * 4,
    *["train_risk_predictor", "train_risk_predictor", "analyze"] * 2,
)
LEARNT, DECIDED = JOB[:2], (*JOB[2:], "plan_study", "run_evaluation")
STEERING_STUDY = (*LEARNT, "collect_branches", *DECIDED, *LEARNT, *DECIDED)
SCRIPTS = {"quickstart.sh": JOB, "risk_study.sh": STUDY, "steering_study.sh": STEERING_STUDY}
# Stands for the interpreter: notes what it was asked to run.
_NOTES = """#!{python}
import json, pathlib, sys
with (pathlib.Path(__file__).parent / "asked.jsonl").open("a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
"""
_PARSE = """
import importlib, sys
from mist_jax.commands.start import binary
command = importlib.import_module(f"mist_jax.commands.{sys.argv[1]}")
binary.parse_flags(command, sys.argv[1:])
"""


@pytest.fixture(scope="module", params=SCRIPTS)
def commands(request, tmp_path_factory) -> tuple[str, list[tuple[str, list[str]]]]:
    """A script and its steps, each a binary and flags: run with an interpreter that notes them."""
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "launch").mkdir()
    script = shutil.copy(ROOT / "launch" / request.param, folder / "launch")
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    for file, text in (
        (folder / "launch" / "install.sh", "#!/bin/sh\n"),
        (python, _NOTES.format(python=sys.executable)),
    ):
        file.write_text(text)
        file.chmod(0o755)
    done = subprocess.run(
        [str(script), "--assets=lite", "--batch_size=2"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    asked = map(json.loads, (python.parent / "asked.jsonl").read_text().splitlines())
    steps = [(module.removeprefix("experiments."), flags) for _, module, *flags in asked]
    return request.param, steps


def test_the_steps_are_those_of_the_job_in_order(commands):
    script, steps = commands
    assert tuple(name for name, _ in steps) == SCRIPTS[script]


def test_a_step_s_flags_are_flags_of_its_binary(commands):
    _, steps = commands
    tried = {(name, tuple(flag.split("=")[0] for flag in flags)): flags for name, flags in steps}
    for (name, _), flags in tried.items():
        command = [sys.executable, "-c", _PARSE, name, *flags]
        parsed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert parsed.returncode == 0, parsed.stderr


def test_a_registered_run_types_nothing_that_is_registered(commands):
    fixed = {"batch_size", "render", "env", "initial_states", "n_episodes", "intent", "coefficient"}
    for _, flags in commands[1]:
        names = {flag.removeprefix("--").split("=")[0] for flag in flags}
        assert "preregistration" not in names or not names & fixed


def test_the_quick_start_trains_shortly_and_detectors_that_there_are(commands):
    script, steps = commands
    if script != "quickstart.sh":
        pytest.skip("the study trains every detector at its own length")
    given = dict(
        flag.removeprefix("--").split("=", 1) for flag in dict(steps)["train_risk_predictor"]
    )
    names = given["detectors"].split(",")
    assert 1 < len(chosen("head", names)) < 8
    assert int(given["safe_epochs"]) <= 100
