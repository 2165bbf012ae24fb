"""Curves: the event files hold what the log holds, and nothing imports TensorFlow for them."""

import importlib
import importlib.util
import json
import struct
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from mist_jax.errors import UserError
from mist_jax.tracking import EVENTS, tracking
from mist_jax.training.metric_log import MetricLog

pytest.importorskip("tensorboardX", reason="needs tensorboardX (extra tensorboard)")


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum, bit by bit, masked as TFRecord has it."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(folder: Path) -> Iterator:
    from tensorboardX.proto import event_pb2

    for path in sorted((folder / EVENTS).iterdir()):
        content = path.read_bytes()
        while content:
            length, check = struct.unpack("<QI", content[:12])
            assert check == crc32c(content[:8])
            record, rest = content[12 : 12 + length], content[12 + length :]
            assert struct.unpack("<I", rest[:4]) == (crc32c(record),)
            event = vars(event_pb2)["Event"]()
            event.ParseFromString(record)
            yield event
            content = rest[4:]


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    return [
        (value.tag, event.step, value.simple_value)
        for event in events(folder)
        for value in event.summary.value
    ]


def test_tensorboard_is_told_what_the_log_keeps(tmp_path: Path):
    with tracking("tensorboard", tmp_path, "train_policy") as tracker:
        log = MetricLog(tmp_path / "metrics.jsonl", 0, tracker)
        log.write(100, {"loss": 0.5, "action_l1": 0.25})
        log.write(200, {"loss": 0.125})
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    kept = [
        (name, line["step"], value)
        for line in lines
        for name, value in line.items()
        if name != "step"
    ]
    assert scalars(tmp_path) == kept
    assert len(kept) == 3


def test_a_run_that_goes_on_hides_what_came_after_the_step_it_goes_on_from(tmp_path: Path):
    for start in (100, 300):
        with tracking("tensorboard", tmp_path, "train_policy") as tracker:
            tracker.write(start, {"loss": 1.0})
    starts = [e.step for e in events(tmp_path) if e.HasField("session_log")]
    assert starts == [100, 300]


def test_a_run_that_fails_keeps_what_was_written(tmp_path: Path):
    def fail() -> None:
        with tracking("tensorboard", tmp_path, "x") as tracker:
            tracker.write(1, {"loss": 2.0})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert scalars(tmp_path) == [("loss", 1, 2.0)]


def test_untracked_runs_write_no_event_and_ask_for_no_library(tmp_path: Path):
    with tracking("none", tmp_path, "train_policy") as tracker:
        tracker.write(1, {"loss": 2.0})
    assert list(tmp_path.iterdir()) == []


def test_wandb_is_told_the_same_and_closed(tmp_path: Path, monkeypatch):
    told = []
    run = types.SimpleNamespace(
        log=lambda values, step: told.append((step, values)), finish=lambda: told.append("end")
    )
    wandb = types.ModuleType("wandb")
    wandb.__spec__ = importlib.util.spec_from_loader("wandb", None)
    options = {}
    wandb.init = lambda **given: options.update(given) or run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with tracking("wandb", tmp_path / "out", "train_policy") as tracker:
        tracker.write(7, {"loss": 2.0})
    assert told == [(7, {"loss": 2.0}), "end"]
    assert options["dir"] == str(tmp_path / "out")
    assert not {"key", "api_key", "token"} & set(options)


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_what_is_not_installed_is_said_with_how_to_get_it(tmp_path: Path, monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with (
        pytest.raises(UserError, match=rf"pip install 'mist_jax\[{name}\]'"),
        tracking(name, tmp_path, "x"),
    ):
        pass


def test_tracking_never_imports_tensorflow(tmp_path: Path):
    program = (
        "import sys, pathlib\n"
        "from mist_jax.tracking import tracking\n"
        "with tracking('tensorboard', pathlib.Path(sys.argv[1]), 'x') as tracker:\n"
        "    tracker.write(1, {'loss': 1.0})\n"
        "sys.exit('tensorflow' in sys.modules)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.run(command, check=False, timeout=300).returncode == 0
