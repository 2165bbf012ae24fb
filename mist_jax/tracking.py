"""The curves of a run in TensorBoard or Weights & Biases, beside the files that it writes anyway.

TensorBoard's event files are written by tensorboardX, which never imports TensorFlow: that may not
be in a process that renders.
"""

import importlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from mist_jax.errors import UserError

TrackerName = Literal["none", "tensorboard", "wandb"]
TRACKERS: tuple[TrackerName, ...] = ("none", "tensorboard", "wandb")
EVENTS = "tensorboard"  # folder beside what the run writes
_MODULES = {"tensorboard": "tensorboardX", "wandb": "wandb"}


class Tracker(Protocol):
    """Where figures of a run go, step by step."""

    def write(self, step: int, values: Mapping[str, float]) -> None: ...


class NoTracker:
    """Keeps nothing."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Forgets them."""


class _TensorBoard:
    def __init__(self, folder: Path):
        self._folder, self._writer = folder, None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is None:
            from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

            # Of a run that goes on, what was written after the step it goes on from is not shown.
            self._writer = SummaryWriter(
                str(self._folder / EVENTS), purge_step=step, filename_suffix=f".{step}"
            )
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _WeightsAndBiases:
    def __init__(self, folder: Path, what: str):
        wandb: Any = importlib.import_module("wandb")
        folder.mkdir(parents=True, exist_ok=True)
        project = os.environ.get("WANDB_PROJECT", "mist_jax")
        self._run = wandb.init(project=project, job_type=what, name=folder.name, dir=str(folder))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


def check_tracker(name: TrackerName) -> None:
    """Makes sure that what tracks is installed, without importing it.

    Raises:
        UserError: it is not.
    """
    module = _MODULES.get(name)
    if module is not None and importlib.util.find_spec(module) is None:
        raise UserError(f"--track={name} needs {module}: pip install 'mist_jax[{name}]'")


@contextmanager
def tracking(name: TrackerName, folder: Path, what: str) -> Iterator[Tracker]:
    """Tracks what is written in the block; `what` is the command, `folder` where the run writes.

    Raises:
        UserError: what tracks is not installed.
    """
    check_tracker(name)
    if name == "none":
        yield NoTracker()
        return
    tracker = _TensorBoard(folder) if name == "tensorboard" else _WeightsAndBiases(folder, what)
    try:
        yield tracker
    finally:
        tracker.close()
