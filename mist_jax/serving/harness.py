"""vla-evaluation-harness's protocol: messages in an envelope, one action for each observation.

The client speaks first, with a hello. It tells where episodes begin and end, sends every step's
observation and executes one action of each reply: a chunk is kept here until it is used up. An
error is a message, and the connection goes on.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from mist_jax.checkpoint import code_version
from mist_jax.errors import UserError
from mist_jax.policy.preprocessing.preprocessor import Preprocessor
from mist_jax.record.observation import AGENT_CAMERA, WRIST_CAMERA
from mist_jax.serving.client import Client
from mist_jax.serving.frame import pack_harness
from mist_jax.serving.observation import ServedObservation, WireNames
from mist_jax.serving.settings import ServeSettings
from mist_jax.simulator.libero.suites import suites

CAMERAS = {AGENT_CAMERA: "agentview", WRIST_CAMERA: "wrist"}
ENVELOPE = ("type", "payload", "seq", "timestamp")
KINDS = ("hello", "observation", "action", "episode_start", "episode_end", "error")
_PICTURE = {"dims": 0, "format": "rgb_hwc_uint8"}
# What the harness compares with its benchmark's own; names and formats are those of its `specs`.
_ACTION_SPEC = {
    "position": {"name": "position", "dims": 3, "format": "delta_xyz", "range": [-1, 1]},
    "rotation": {"name": "rotation", "dims": 3, "format": "axis_angle", "range": [-3.15, 3.15]},
    "gripper": {"name": "gripper", "dims": 1, "format": "binary_close_positive", "range": [-1, 1]},
}
_STATE = {"name": "state", "dims": 8, "format": "eef_pos3_axisangle3_gripper2"}
_LANGUAGE = {"name": "language", "dims": 0, "format": "language"}


def hello(described: Mapping[str, Any], preprocessor: Preprocessor) -> dict[str, Any]:
    """The payload of a server's hello: what the policy wants to be sent, and what it sends."""
    sent = [CAMERAS[camera] for camera in preprocessor.cameras if camera in CAMERAS]
    # A quaternion's sign is kept, and fixtures drawn, as where OpenVLA-OFT is evaluated.
    wanted = {"env_seed": 0, "quat_no_antipodal": True}
    wanted |= {"send_wrist_image": True} if CAMERAS[WRIST_CAMERA] in sent else {}
    wanted |= {"send_state": True} if preprocessor.takes_proprio else {}
    return {
        "harness_version": f"mist_jax {code_version()}",
        "protocol_version": 1,
        "model_server": "mist_jax",
        "capabilities": {},
        "observation_params": wanted,
        "action_spec": _ACTION_SPEC,
        "observation_spec": {
            **{name: {"name": "image", **_PICTURE} for name in sent},
            **({"state": _STATE} if preprocessor.takes_proprio else {}),
            "language": _LANGUAGE,
        },
        "mist": dict(described),
    }


def envelope(kind: str, payload: Mapping[str, Any], seq: int) -> dict[str, Any]:
    """A message."""
    return {"type": kind, "payload": payload, "seq": seq, "timestamp": time.time()}


def is_message(message: Mapping[Any, Any]) -> bool:
    """Whether a frame is of this protocol; openpi's requests have no such keys."""
    return "type" in message and "payload" in message


class HarnessTalk:
    """Answers one connection's messages.

    Where `greeted`, the server's hello has been sent before the client's, which then gets none.
    """

    def __init__(
        self,
        client: Client,
        settings: ServeSettings,
        payload: Mapping[str, Any],
        *,
        greeted: bool = False,
    ):
        self._client, self._settings = client, settings
        self._hello, self._greeted = payload, greeted
        self._begin({})

    async def reply(self, message: Mapping[Any, Any]) -> bytes | None:
        """The frame that answers a message; None where it has no answer.

        Raises:
            UserError: the message is none of the protocol's, or not what the policy takes.
        """
        kind, payload, seq = _opened(message)
        if kind == "hello":
            greeted, self._greeted = self._greeted, False
            return None if greeted else pack_harness(envelope("hello", self._hello, seq))
        if kind == "observation":
            return pack_harness(envelope("action", await self._act(payload), seq))
        if kind in ("episode_start", "episode_end"):
            self._begin(payload)
        return None

    def refusal(self, message: Mapping[Any, Any] | None, error: str) -> tuple[bytes, bool]:
        """What an error looks like, and that the connection goes on."""
        seq = 0 if message is None else message.get("seq", 0)
        told = {"error": error}
        return pack_harness(envelope("error", told, seq if type(seq) is int else 0)), False

    def _begin(self, payload: Mapping[str, Any]) -> None:
        """A new episode; its task may name a suite whose longest time is known."""
        self._left: list[np.ndarray] = []
        self._told: dict[str, Any] = {}
        task = payload.get("task")
        name = task.get("suite") if isinstance(task, Mapping) else None
        suite = suites().get(name) if isinstance(name, str) else None
        self._client.begin(self._settings.max_steps if suite is None else suite.max_steps)

    async def _act(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The next action of the chunk, or of a new one for this observation."""
        client = self._client
        if not self._left:
            observation = await asyncio.to_thread(_read, payload, client.served.policy.preprocessor)
            query = client.query
            answer = await client.ask(observation, client.served.chunk)
            self._left = list(answer.chunk)
            self._told = client.served.told(answer, query)
        place = client.served.chunk - len(self._left)
        return {"actions": self._left.pop(0), "mist": {**self._told, "chunk_step": place}}


def _opened(message: Mapping[Any, Any]) -> tuple[str, Mapping[str, Any], int]:
    """Kind, payload and number of a message."""
    lacking = [part for part in ENVELOPE if part not in message]
    if lacking:
        raise UserError(f"a message has {', '.join(ENVELOPE)}; this one has no {lacking[0]!r}")
    kind, payload, seq = message["type"], message["payload"], message["seq"]
    if kind not in KINDS or kind == "action":
        valid = ", ".join(one for one in KINDS if one != "action")
        raise UserError(f"a client sends {valid}, not {str(kind)[:40]!r}")
    if not isinstance(payload, Mapping) or type(seq) is not int:
        raise UserError(f"a message's payload is a map and its seq a whole number: {kind}")
    return kind, payload, seq


def _read(payload: Mapping[str, Any], preprocessor: Preprocessor) -> ServedObservation:
    """The observation of a payload, whose pictures lie in a map of their own."""
    images = payload.get("images")
    if not isinstance(images, Mapping):
        raise UserError("the observation has no 'images', a map of pictures by camera")
    names = WireNames(
        cameras={camera: f"images/{name}" for camera, name in CAMERAS.items()},
        state="states" if "states" in payload else "state",
        instruction="task_description",
    )
    pictures = {f"images/{name}": image for name, image in images.items()}
    return ServedObservation.read({**payload, **pictures}, names, preprocessor)
