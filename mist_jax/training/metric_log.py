"""Training metrics as JSON lines, one per step written: easy to plot, safe to cut off anywhere.

CLU's metric writers would be the usual choice; importing them imports TensorFlow.
"""

import json
from collections.abc import Mapping
from pathlib import Path


class MetricLog:
    """Appends to a file; a resumed run drops what was written after the step it goes on from."""

    def __init__(self, path: Path, step: int):
        """Opens the log of a run that stands at `step`."""
        kept = []
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step_of(line) <= step]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._path = path

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line: the step and its values."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:  # cut off by a kill
        return float("inf")
