"""Flags of every binary: what is not a number is refused, with one line."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mist_jax.episodes.reader import load_episodes
from mist_jax.episodes.writer import EpisodeWriter
from tests.helpers.episode_samples import INFO, random_episode

ROOT = Path(__file__).parents[2]
BINARIES = sorted(
    path.stem
    for path in (ROOT / "experiments").glob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)

COMMANDS = [
    path for path in sorted((ROOT / "mist_jax/commands").rglob("*.py")) if path.stem != "folders"
]

# Every flag of numbers, and of lists, of one binary, each given what is not finite.
_PROBE = """
import contextlib, importlib, io, sys
from absl import flags
from mist_jax.commands.start import binary
command = importlib.import_module(f"mist_jax.commands.{sys.argv[1]}")
FLAGS = flags.FLAGS
given = [f"--{f.name}=x" for f in FLAGS.get_key_flags_for_module(command)
         if f.name in ("data_dir", "output_dir", "save_dir", "risk_head", "hf_checkpoint")]
checked = 0
for name in list(FLAGS):
    if FLAGS[name].flag_type() not in ("float", "comma separated list of strings"):
        continue
    module = FLAGS.find_module_defining_flag(name)
    if not module.startswith("mist_jax.commands"):
        continue
    for value in ("nan", "NaN", "inf", "-inf", "1e999"):
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                binary.parse_flags(command, [sys.argv[1], *given, f"--{name}={value}"])
            print(f"ACCEPTED --{name}={value}")
        except SystemExit as ended:
            text = said.getvalue()
            if ended.code != 1 or text.count("\\n") != 1 or name not in text:
                print(f"BADLY REFUSED --{name}={value}: {text!r}")
        FLAGS.unparse_flags()
        for one in FLAGS:
            FLAGS[one].unparse()
        checked += 1
print(f"checked {checked}")
"""


@pytest.mark.parametrize("name", BINARIES)
def test_no_flag_of_any_binary_takes_nan_or_infinity(name):
    result = subprocess.run(
        [sys.executable, "-c", _PROBE, name], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert "ACCEPTED" not in result.stdout
    assert "REFUSED" not in result.stdout
    expected = {"run_evaluation", "collect_failure_data", "train_risk_predictor", "benchmark"}
    assert ("checked 0" not in result.stdout) or name not in expected


def run(name: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"experiments.{name}", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


CONFIGS = {
    "text.md": "# A title\n\nIt's no program.\n",
    "none.py": "def get_config():\n    return None\n",
    "dict.py": "def get_config():\n    return {'batch_size': 3}\n",
    "empty.py": "from ml_collections import ConfigDict\nget_config = ConfigDict\n",
    "raises.py": "def get_config():\n    raise KeyError('a')\n",
    "nan.py": "from mist_jax.training.recipes import clone\n"
    "def get_config():\n    c = clone.get_config()\n    c.average = float('nan')\n    return c\n",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_that_is_no_recipe_is_refused_with_one_line(tmp_path, name):
    config = tmp_path / name
    config.write_text(CONFIGS[name], encoding="utf-8")
    flags = [f"--config={config}", f"--data_dir={tmp_path}", f"--output_dir={tmp_path / 'out'}"]
    result = run("train_policy", *flags)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1, result.stderr
    assert "--config" in result.stderr
    assert not (tmp_path / "out").exists()


_LOAD = """
import sys
from absl import flags
from mist_jax.commands.flags import policy_flags
flags.FLAGS(sys.argv)
print(policy_flags.load().dtype, policy_flags.load("bfloat16").dtype)
"""


@pytest.mark.parametrize(
    ("given", "dtypes"),
    [([], "float32 bfloat16"), (["--dtype=float8"], "float8 float8")],
)
def test_a_policy_computes_in_the_dtype_that_is_asked_for(given, dtypes):
    command = [sys.executable, "-c", _LOAD, "--noverify", *given]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    said = subprocess.check_output(command, cwd=ROOT, text=True, env=environment)
    assert said.strip() == dtypes


def test_a_tilde_that_the_shell_leaves_in_a_flag_is_the_home_of_who_typed_it(tmp_path):
    with EpisodeWriter(tmp_path / "data", INFO) as writer:
        writer.append(random_episode(seed=0, steps=3, queries=1))
    module = "experiments.select_episodes"
    flags = ("--data_dir=~/data", "--save_dir=~/copy", "--task_ids=0")
    done = subprocess.run(
        [sys.executable, "-m", module, *flags],
        cwd=ROOT, env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(load_episodes(tmp_path / "copy")) == 1
    assert not (ROOT / "~").exists()


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_every_command_takes_folders_as_all_do(path):
    """`folder_of` alone makes a path of what was typed."""
    assert re.findall(r"\bPath\([^()]*\bvalue\b[^()]*\)", path.read_text()) == []
