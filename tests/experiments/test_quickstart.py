"""The quick start's commands, as its script gives them: the binaries take every one of them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mist_jax.risk.study.registry import chosen

ROOT = Path(__file__).parents[2]
STEPS = (
    "collect_failure_data", "train_risk_predictor", "extract_steering_vectors", "run_evaluation",
)  # fmt: skip
# Stands for the interpreter: notes what it was asked to run.
_NOTES = """#!{python}
import json, pathlib, sys
with (pathlib.Path(__file__).parent / "asked.jsonl").open("a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
"""
_PARSE = """
import importlib, sys
from experiments import binary
importlib.import_module(sys.argv[1])
binary._parse_flags(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> dict[str, list[str]]:
    """Flags by binary, of the script run with an interpreter that only notes its arguments."""
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "launch").mkdir()
    shutil.copy(ROOT / "launch" / "quickstart.sh", folder / "launch")
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    for file, text in (
        (folder / "launch" / "install.sh", "#!/bin/sh\n"),
        (python, _NOTES.format(python=sys.executable)),
    ):
        file.write_text(text)
        file.chmod(0o755)
    script = [str(folder / "launch" / "quickstart.sh"), "--assets=lite"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    asked = map(json.loads, (python.parent / "asked.jsonl").read_text().splitlines())
    return {module.removeprefix("experiments."): flags for _, module, *flags in asked}


def test_the_steps_are_those_of_the_job_in_order(commands):
    assert tuple(commands) == STEPS


@pytest.mark.parametrize("name", STEPS)
def test_a_step_s_flags_are_flags_of_its_binary(name, commands):
    command = [sys.executable, "-c", _PARSE, f"experiments.{name}", *commands[name]]
    parsed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert parsed.returncode == 0, parsed.stderr


def test_the_training_is_short_and_of_detectors_that_there_are(commands):
    given = dict(flag.removeprefix("--").split("=", 1) for flag in commands["train_risk_predictor"])
    names = given["detectors"].split(",")
    assert 1 < len(chosen("head", names)) < 8
    assert int(given["safe_epochs"]) <= 100
