"""What a folder that a command writes to is already: no command writes over another one's work."""

import json
import os
from pathlib import Path
from typing import Literal

from mist_jax.errors import UserError

OutputKind = Literal[
    "collection",
    "evaluation",
    "branches",
    "report",
    "analysis",
    "risk head",
    "steering bank",
    "training run",
    "policy",
]

# By the first of its files that is there. A dataset says itself of which kind it is.
_DATASET_FILES = ("dataset.json", "dataset_info.json", "episodes.jsonl")
_SIGNS: tuple[tuple[str, OutputKind], ...] = (
    ("plan.json", "training run"),
    ("risk_head", "risk head"),
    ("steering_bank", "steering bank"),
    ("causal_bank", "steering bank"),
    ("conceptor_bank", "steering bank"),
    ("dataset_statistics.json", "policy"),
    ("report.html", "report"),
)
# These keep to their own files in one folder.
_TOGETHER: tuple[frozenset[OutputKind], ...] = (frozenset({"risk head", "steering bank"}),)


def kind_of(folder: Path) -> str | None:
    """What `folder` holds, "dataset" where that cannot be told closer; None where nothing known."""
    if any((folder / name).exists() for name in _DATASET_FILES):
        try:
            return str(json.loads((folder / _DATASET_FILES[0]).read_bytes())["info"]["kind"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return "dataset"
    metadata = folder / "metadata.json"
    if metadata.exists():
        try:
            return str(json.loads(metadata.read_bytes())["kind"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return "checkpoint"
    return next((kind for name, kind in _SIGNS if (folder / name).exists()), None)


def check_output(folder: Path, kind: OutputKind) -> None:
    """Makes sure that `folder` can take what is to be written: it is of this kind, or of none.

    Raises:
        UserError: it holds something else, is a file or lies in one, or cannot be written to.
    """
    there = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), Path())
    if not there.is_dir():
        raise UserError(f"{folder} cannot be written to ({there} is not a folder); name another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{folder} cannot be written to (permission denied); name another folder")
    found = kind_of(folder)
    damaged = found == "dataset" and kind in ("collection", "evaluation", "branches")
    together = any({found, kind} <= kinds for kinds in _TOGETHER)
    if found not in (None, kind) and not damaged and not together:
        raise UserError(f"{folder} is the folder of a {found}, not of a new {kind}; name another")
