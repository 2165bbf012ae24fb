"""The commands of the scripts that users run: the binaries take every one of them."""

import json
import os
import shlex
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
LEARNT = (JOB[0], *JOB[:2])
SCRIPTS = {
    "quickstart.sh": JOB,
    "risk_study.sh": STUDY,
    "steering_banks.sh": (*LEARNT, "collect_branches", JOB[2], *LEARNT, JOB[2]),
    "steering_study.sh": ("run_evaluation", "plan_study", "run_evaluation", "run_evaluation"),
}
FLAGS = ("--assets=lite", "--batch_size=2")
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


def launched(folder: Path, name: str, *flags: str, **variables: str) -> tuple[str, list[list[str]]]:
    """What a script prints, and what it asks an interpreter for that only notes it."""
    (folder / "launch").mkdir(parents=True)
    for file in (name, "dry_run.sh"):
        shutil.copy(ROOT / "launch" / file, folder / "launch")
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    for file, text in (
        (folder / "launch" / "install.sh", "#!/bin/sh\n"),
        (python, _NOTES.format(python=sys.executable)),
    ):
        file.write_text(text)
        file.chmod(0o755)
    done = subprocess.run(
        [str(folder / "launch" / name), *flags],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    noted = python.parent / "asked.jsonl"
    asked = noted.read_text().splitlines() if noted.is_file() else ()
    return done.stdout, [json.loads(line) for line in asked]


@pytest.fixture(scope="module", params=SCRIPTS)
def commands(request, tmp_path_factory) -> tuple[str, list[tuple[str, list[str]]]]:
    """A script and its steps, each a binary and flags."""
    _, asked = launched(tmp_path_factory.mktemp("scripts") / "of", request.param, *FLAGS)
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
    fixed |= {"brake", "halt", "release", "hold", "push", "risk_threshold", "rotation_coefficient"}
    fixed.add("dtype")
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


CHOSEN = {
    "SUITE": "object", "NAME": "braked", "HEAD": "head", "BANK": "bank", "BRAKE": "0.5",
    "HALT": "0.25", "RELEASE": "3", "HOLD": "0.5", "GATE": "", "COEFFICIENT": "0.05",
    "TUNING": "tuning:4",
    "STUDY_FLAGS": "--save_video=all --video_initial_states=7000",
}  # fmt: skip


def given(flags: list[str]) -> dict[str, str]:
    return dict(flag.removeprefix("--").split("=", 1) for flag in flags)


def test_the_choice_of_a_steering_study_is_tuned_and_its_study_types_none_of_it(tmp_path):
    _, asked = launched(tmp_path / "study", "steering_study.sh", *FLAGS, **CHOSEN)
    tuned, planned, first, whole = (given(command[2:]) for command in asked)
    assert tuned["model_name"] == "mist-nano-object"
    assert tuned["env"] == "libero_object_cluttered"
    assert (tuned["brake"], tuned["halt"]) == ("0.5", "0.25")
    assert (tuned["release"], tuned["hold"]) == ("3", "0.5")
    assert (tuned["coefficient"], tuned["n_episodes"]) == ("0.05", "4")
    assert "risk_threshold" not in tuned
    assert planned["tuning"] == tuned["output_dir"] == "runs/steering-study/braked-tuning"
    assert planned["interventions"] == whole["interventions"]
    assert set(first["interventions"].split(",")) < set(whole["interventions"].split(","))
    assert "save_video" not in tuned
    for study in (first, whole):
        assert study["preregistration"] == f"{planned['output_dir']}/preregistration.json"
        assert (study["risk_head"], study["causal_bank"]) == ("head", "bank")
        assert study["save_video"] == "all"


def test_a_dry_run_prints_the_commands_and_asks_nothing(tmp_path):
    _, asked = launched(tmp_path / "wet", "steering_study.sh", *FLAGS)
    told, nothing = launched(tmp_path / "dry", "steering_study.sh", "--dry_run", *FLAGS)
    assert nothing == []
    assert [shlex.split(line)[1:] for line in told.splitlines()] == asked


def test_one_step_of_a_steering_study_can_be_asked_for_and_help_names_the_variables(tmp_path):
    _, asked = launched(tmp_path / "one", "steering_study.sh", STEPS="tune")
    assert [command[1] for command in asked] == ["experiments.run_evaluation"]
    told, nothing = launched(tmp_path / "help", "steering_study.sh", "--help")
    assert nothing == []
    assert all(f"{name}=" in told for name in CHOSEN)


@pytest.mark.parametrize("wrong", [{"SUITE": "goal"}, {"STEPS": "study tuen"}, {"TUNING": "7"}])
def test_a_variable_that_is_none_of_its_values_is_one_line(tmp_path, wrong):
    with pytest.raises(AssertionError, match=r"^steering_study: [A-Z]+ (is|are) [^\n]+\n"):
        launched(tmp_path / "wrong", "steering_study.sh", **wrong)
