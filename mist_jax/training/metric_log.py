"""Training metrics as JSON lines, one per step written: easy to plot, safe to cut off anywhere."""

import json
from collections.abc import Mapping
from pathlib import Path

from mist_jax.tracking import NoTracker, Tracker


class MetricLog:
    """Appends to a file; a resumed run drops what was written after the step it goes on from."""

    def __init__(self, path: Path, step: int, tracker: Tracker | None = None):
        """Opens the log of a run that stands at `step`; `tracker` is told the same."""
        kept = []
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step_of(line) <= step]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._path, self._tracker = path, tracker or NoTracker()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line: the step and its values."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        self._tracker.write(step, values)


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:  # cut off by a kill
        return float("inf")
