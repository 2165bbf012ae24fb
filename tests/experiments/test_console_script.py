"""`mist-jax` runs the commands that `experiments/` starts, and helps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mist_jax.commands.start import binary
from mist_jax.commands.start.main import commands_by_name

ROOT = Path(__file__).parents[2]
_START = "from mist_jax.commands.start.main import main; main()"


def mist_jax(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import sys; sys.argv[0] = 'mist-jax'; {_START}", *words]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_every_command_has_an_entry_point_of_its_name_and_no_other_exists():
    files = {path.stem for path in (ROOT / "experiments").glob("*.py")} - {"__init__"}
    assert files == set(commands_by_name())


def test_without_a_command_all_are_listed_with_what_they_do():
    result = mist_jax("--help")
    assert result.returncode == 0
    for name, line in commands_by_name().items():
        assert line.endswith("."), name
        assert f"  {name}" in result.stdout
        assert line in result.stdout
    assert mist_jax().returncode == 1


def test_a_misspelt_command_and_a_misspelt_flag_are_told_the_right_one():
    result = mist_jax("run_evaluatoin")
    assert result.returncode == 1
    assert (
        result.stderr
        == "mist-jax: there is no command 'run_evaluatoin': did you mean run_evaluation?\n"
    )
    result = mist_jax("analyze", "--risk_heed=x")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "risk_head" in result.stderr


@pytest.mark.parametrize("started", ["mist-jax", "experiments"])
def test_help_tells_required_flags_first_and_shared_ones_in_groups(started):
    if started == "mist-jax":
        result = mist_jax("collect-branches", "--help")
    else:
        command = [sys.executable, "-m", "experiments.collect_branches", "--help"]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    text = result.stdout
    program = "mist-jax collect_branches" if started == "mist-jax" else "python -m experiments"
    assert f"usage: {program}" in text
    required, own = text.index("required:"), text.index("flags of this command:")
    assert required < text.index("--data_dir=...") < own
    shared = text.index("Flags of every command that simulates:")
    assert own < shared < text.index("--camera_res=...")
    assert "(default: 256)" in text


def test_a_dataset_is_told_the_command_as_it_was_typed():
    show = "import sys; sys.argv = ['analyze', '--a=b c']; "
    show += "from mist_jax.commands.start.binary import command_line; print(command_line())"
    result = subprocess.run(
        [sys.executable, "-c", show], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.stdout == "mist-jax analyze '--a=b c'\n"


_INTERRUPTED = """
import importlib, os, signal, sys
from mist_jax.commands.start import binary
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
sys.argv = sys.argv[1:]
command = importlib.import_module(f"mist_jax.commands.{sys.argv[0]}")
command.main = lambda: os.kill(os.getpid(), signal.SIGINT)
binary.run(command)
"""


@pytest.mark.parametrize(
    ("name", "flags", "goes_on"),
    [
        ("collect_failure_data", "--save_dir=x", True),
        ("train_policy", "--data_dir=x --output_dir=x", True),
        ("train_risk_predictor", "--data_dir=x --output_dir=x", False),
        ("select_episodes", "--data_dir=x --save_dir=x --task_ids=0", False),
    ],
)
def test_who_interrupts_a_command_is_told_that_it_goes_on_where_it_does_alone(name, flags, goes_on):
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, name, *flags.split()],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == binary.INTERRUPTED
    kept = "; what was finished is kept, and the same command goes on from there"
    assert done.stderr == f"{name}: interrupted{kept if goes_on else ''}\n"
    assert set(commands_by_name()) >= binary.GO_ON
