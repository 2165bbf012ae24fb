"""What is answered over plain HTTP on the same port: whether it lives, and how it batches.

`/healthz` is openpi's, `/health` and `/config` are vla-evaluation-harness's.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers

from mist_jax.serving.batcher import Batcher

LONGEST_WAIT = 10.0  # s
_OTHER_SITES = {"cross-site", "same-site"}


def asked_by_a_page(headers: Headers) -> bool:
    """Whether a page that a browser shows sends the request, which has no business with a robot.

    What a person types into a browser, and other clients, send neither header.
    """
    return "Origin" in headers or not _OTHER_SITES.isdisjoint(headers.get_all("Sec-Fetch-Site"))


def http_answer(path: str, batcher: Batcher) -> tuple[int, str, str] | None:
    """Status, content type and body; None where the path is no such one.

    `/config?max_batch_size=4&max_wait_time=0.01` changes what batches are gathered, never what is
    compiled: at most the questions that one call holds; seconds.
    """
    parts = urlsplit(path)
    if parts.path == "/healthz":
        return 200, "text/plain; charset=utf-8", "OK\n"
    if parts.path == "/health":
        return _json(200, {"status": "ok"})
    if parts.path != "/config":
        return None
    applied, errors = _configure(parse_qs(parts.query, keep_blank_values=True), batcher)
    if errors and not applied:
        return _json(422, {"errors": errors})
    config = {"max_batch_size": batcher.most, "max_wait_time": batcher.wait}
    told: dict[str, Any] = {"applied": applied, "config": config}
    return _json(200, {**told, "errors": errors} if errors else told)


def _configure(
    asked: Mapping[str, list[str]], batcher: Batcher
) -> tuple[dict[str, Any], list[str]]:
    def most(text: str) -> None:
        value = int(text)
        if not 1 <= value <= batcher.limit:
            raise ValueError(f"1 to {batcher.limit}, as compiled (--batch_size)")
        batcher.most = value

    def wait(text: str) -> None:
        value = float(text)
        if not math.isfinite(value) or not 0 <= value <= LONGEST_WAIT:
            raise ValueError(f"0 to {LONGEST_WAIT:g} seconds")
        batcher.wait = value

    setters: dict[str, Callable[[str], None]] = {"max_batch_size": most, "max_wait_time": wait}
    applied, errors = [], []
    for key, values in asked.items():
        if key not in setters:
            errors.append(f"unknown key: {key}")
            continue
        try:
            setters[key](values[-1])
            applied.append(key)
        except ValueError as error:
            errors.append(f"bad value for {key}: {error}")
    now = {"max_batch_size": batcher.most, "max_wait_time": batcher.wait}
    return {key: now[key] for key in applied}, errors


def _json(status: int, body: Mapping[str, Any]) -> tuple[int, str, str]:
    return status, "application/json", json.dumps(body) + "\n"
