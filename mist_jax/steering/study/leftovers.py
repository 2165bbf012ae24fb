"""Banks in an output folder that are of another extraction than the one that is written there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from mist_jax.checkpoint import METADATA
from mist_jax.steering.causal.checkpoint import FOLDER as CAUSAL_FOLDER
from mist_jax.steering.causal.report import SUMMARY
from mist_jax.steering.checkpoint import FOLDER
from mist_jax.steering.conceptors.checkpoint import FOLDER as CONCEPTORS_FOLDER


def remove_others(
    folder: Path, model: str, dataset_hash: str, say: Callable[[str], None] = lambda text: None
) -> None:
    """Removes banks of another policy or of other data, and then the summary and plots of them.

    `folder` is what `extract_steering_vectors` writes: its banks are used together. One of the same
    policy and data stays, as it may be made by a run of its own.
    """
    others = [
        folder / name
        for name in (FOLDER, CONCEPTORS_FOLDER, CAUSAL_FOLDER)
        if (folder / name).is_dir() and _made_of(folder / name) != (model, dataset_hash)
    ]
    for path in others:
        shutil.rmtree(path, ignore_errors=True)
        say(f"removed {path}, which was of another policy or of other data")
    if others:
        (folder / SUMMARY).unlink(missing_ok=True)
        shutil.rmtree(folder / "plots", ignore_errors=True)


def _made_of(bank: Path) -> tuple[object, object]:
    try:
        described = json.loads((bank / METADATA).read_bytes())
        return described["model"], described["dataset_hash"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None, None
