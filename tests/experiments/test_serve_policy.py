"""The command: what it refuses at once, what it prints, and that Ctrl-C ends it well."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mist_jax.errors import UserError
from mist_jax.serving.extra import check_installed
from tests.helpers.rollout_samples import save_tiny_policy
from tests.helpers.serving_samples import observation, openpi_request

client_policy = pytest.importorskip("openpi_client.websocket_client_policy")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "tiny"
    save_tiny_policy(folder)
    return folder


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "experiments.serve_policy", *flags]


def refused(*flags: str) -> str:
    result = subprocess.run(command(*flags), cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize("caught", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_interrupted_and_says_what_it_did(tiny, caught):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command(f"--model_name={tiny}", "--port=0", "--batch_size=2"),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            assert "arm none: compiling" in server.stdout.readline()
            line = server.stdout.readline()
            assert "serving openpi and vla-eval on ws://127.0.0.1:" in line
            port = int(line.split("ws://127.0.0.1:")[1].split(",")[0])
            client = client_policy.WebsocketClientPolicy("127.0.0.1", port)
            for _ in range(3):
                assert client.infer(openpi_request(observation(0)))["actions"].shape == (8, 7)
            server.send_signal(caught)  # with a client still there
            out, err = server.communicate(timeout=120)
        finally:
            server.kill()
    assert server.returncode == 0
    assert out == "stopped: 3 queries answered in 3 batches\n"
    assert not err


def test_what_cannot_be_served_is_refused_with_one_line(tiny):
    assert "--interventions=oracle cannot be served" in refused("--interventions=oracle")
    assert "--interventions=mist listens to alarms" in refused("--interventions=mist")
    assert "unknown intervention 'mists'" in refused("--interventions=mists")
    assert "the expert acts in a simulator alone" in refused("--model_name=expert")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(f"--model_name={tiny}", f"--port={port}")
        assert f"--port={port}" in said
        assert "choose another" in said


def test_where_a_library_is_absent_one_line_says_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "websockets" else find(name)
    )
    with pytest.raises(UserError) as told:
        check_installed()
    assert str(told.value) == (
        "serving needs websockets, which is not installed: pip install 'mist_jax[serve]'"
    )
