"""Plain HTTP on the server's port: what each protocol's tools ask for."""

import json
import urllib.error
import urllib.request

import pytest

from tests.helpers.serving_samples import running, served_of


@pytest.fixture(scope="module")
def server(policy):
    with running(served_of(policy, 4), wait=0.01) as there:
        yield there


def get(there, path: str) -> tuple[int, str, str]:
    url = f"http://127.0.0.1:{there.port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def test_health_is_told_as_each_protocol_wants(server):
    status, kind, body = get(server, "/healthz")
    assert (status, body) == (200, "OK\n")
    assert kind.startswith("text/plain")
    status, kind, body = get(server, "/health")
    assert (status, kind, json.loads(body)) == (200, "application/json", {"status": "ok"})
    assert get(server, "/")[0] == 426, "anything else is a websocket's"


def config(there, query: str = "") -> tuple[int, dict]:
    status, _, body = get(there, f"/config{query}")
    return status, json.loads(body)


def test_batches_can_be_made_smaller_and_larger_up_to_what_is_compiled(server):
    now = {"max_batch_size": 4, "max_wait_time": 0.01}
    assert config(server) == (200, {"applied": {}, "config": now})
    status, told = config(server, "?max_batch_size=2&max_wait_time=0.5")
    assert status == 200
    assert told["applied"] == told["config"] == {"max_batch_size": 2, "max_wait_time": 0.5}
    assert (server.server.batcher.most, server.server.batcher.wait) == (2, 0.5)
    for query in ("max_batch_size=5", "max_batch_size=0", "max_batch_size=x", "max_wait_time=nan"):
        status, told = config(server, f"?{query}")
        assert (status, set(told)) == (422, {"errors"})
        assert len(told["errors"]) == 1
    status, told = config(server, "?max_batch_size=4&colour=red")
    assert (status, told["applied"]) == (200, {"max_batch_size": 4})
    assert told["errors"] == ["unknown key: colour"]
