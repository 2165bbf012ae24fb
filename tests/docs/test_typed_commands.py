"""What the documents say to type exists: commands and their flags."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "BUILD.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "mist_jax" / "checkpoints").rglob("README.md")),
    *sorted((ROOT / "mist_jax" / "commands").glob("*.py")),
)
_LIST = """
import importlib, sys
from absl import flags
importlib.import_module(f"mist_jax.commands.{sys.argv[1]}")
print("\\n".join(flags.FLAGS))
"""


def typed() -> dict[str, dict[str, str]]:
    """By command, every flag that some document gives it, and the document."""
    found: dict[str, dict[str, str]] = {}
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            for name, words in re.findall(
                r"(?:python -m experiments\.|mist-jax |^\| `)(\w+)((?: +--[^|`#&;]*)?)", line
            ):
                flags = re.findall(r"--(?:no)?([\w.]+)", words)
                if flags or "experiments." in line:
                    found.setdefault(name, {}).update(dict.fromkeys(flags, path.name))
    return {name: flags for name, flags in found.items() if name.islower()}


TYPED = typed()


def test_the_documents_type_every_command():
    files = {path.stem for path in (ROOT / "mist_jax" / "commands").glob("[a-z]*.py")}
    assert set(TYPED) & files >= {"run_evaluation", "collect_failure_data", "plan_study"}
    named = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS[:3])
    assert {name for name in files if name not in named} == set()


@pytest.mark.parametrize("name", sorted(TYPED))
def test_a_typed_command_and_its_flags_exist(name):
    result = subprocess.run(
        [sys.executable, "-c", _LIST, name], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, f"no command {name}: {TYPED[name]}"
    known = set(result.stdout.split()) | {"help"}
    unknown = {
        flag: where
        for flag, where in TYPED[name].items()
        if flag not in known and flag.removeprefix("no") not in known and "." not in flag
    }
    assert not unknown
