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


def get(there, path: str, headers: dict[str, str] | None = None) -> tuple[int, str, str]:
    url = f"http://127.0.0.1:{there.port}{path}"
    request = urllib.request.Request(url, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
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


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.org"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},  # an image, a form or a link sends no origin
        {"Sec-Fetch-Site": "same-site"},  # a page on another port of this machine
    ],
    ids=str,
)
def test_a_page_in_a_browser_can_neither_change_batches_nor_learn_of_them(server, headers):
    before = (server.server.batcher.most, server.server.batcher.wait)
    for path in ("/config?max_batch_size=1&max_wait_time=10", "/config", "/healthz", "/health"):
        status, _, body = get(server, path, headers)
        assert (status, body) == (403, "a page in a browser may not ask this server\n")
    assert (server.server.batcher.most, server.server.batcher.wait) == before


def test_what_a_person_types_into_a_browser_is_answered(server):
    assert get(server, "/health", {"Sec-Fetch-Site": "none"})[0] == 200
    assert get(server, "/config", {"Sec-Fetch-Site": "none"})[0] == 200
