"""openpi's websocket protocol: a request, the chunk for it, nothing else.

The server speaks first, with a map of metadata. A request has no envelope and tells of no episode.
An error is a text frame, after which the connection is closed with code 1011.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from mist_jax.errors import UserError
from mist_jax.record.observation import AGENT_CAMERA, WRIST_CAMERA
from mist_jax.serving.client import Client
from mist_jax.serving.frame import pack_openpi
from mist_jax.serving.observation import ServedObservation, WireNames
from mist_jax.serving.settings import ServeSettings

NAMES = WireNames(
    cameras={AGENT_CAMERA: "observation/image", WRIST_CAMERA: "observation/wrist_image"},
    state="observation/state",
    instruction="prompt",
)
RESET = "reset"  # this server's own key: true in an episode's first request


def openpi_greeting(described: Mapping[str, Any]) -> bytes:
    """The metadata that a client waits for."""
    return pack_openpi(described)


class OpenpiTalk:
    """Answers one connection's requests."""

    def __init__(self, client: Client, settings: ServeSettings):
        self._client, self._settings = client, settings
        self._prompt = ""
        self._seconds: float | None = None  # of the request before
        client.begin(settings.max_steps)

    async def reply(self, message: Mapping[Any, Any]) -> bytes:
        """The frame that answers a request.

        Raises:
            UserError: the request is not what the policy takes.
        """
        began, client = time.perf_counter(), self._client
        served = client.served
        observation = await asyncio.to_thread(
            ServedObservation.read, message, NAMES, served.policy.preprocessor
        )
        reset = message.get(RESET, False)
        if not isinstance(reset, bool):
            raise UserError(f"{RESET} is true or false, not {type(reset).__name__}")
        every = self._settings.openpi_episode == "request"
        if every or reset or observation.instruction != self._prompt:
            client.begin(self._settings.max_steps)
            self._prompt = observation.instruction
        query, executed = client.query, min(self._settings.replan_steps, served.chunk)
        answer = await client.ask(observation, executed)
        timing = {"infer_ms": 1e3 * client.seconds}
        if self._seconds is not None:
            timing["prev_total_ms"] = 1e3 * self._seconds
        frame = pack_openpi(
            {
                "actions": answer.chunk,
                "policy_timing": {"infer_ms": 1e3 * answer.latency},
                "server_timing": timing,
                "mist": served.told(answer, query),
            }
        )
        self._seconds = time.perf_counter() - began
        return frame

    def refusal(self, message: Mapping[Any, Any] | None, error: str) -> tuple[str, bool]:
        """What an error looks like, and that the connection ends with it."""
        del message
        return error, True
