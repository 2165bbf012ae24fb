"""Servers on a thread, observations of a robot, and frames written by hand."""

import asyncio
import contextlib
import dataclasses
import math
import threading
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np

from mist_jax.policy.policy import Policy
from mist_jax.record.observation import CAMERAS, Observation
from mist_jax.rollout.acting.policy_actor import PolicyActor
from mist_jax.serving.served_policy import ServedPolicy
from mist_jax.serving.server import PolicyServer
from mist_jax.serving.settings import ServeSettings

TEXT = "pick up the black bowl between the plate and the ramekin and place it on the plate"


@dataclasses.dataclass(frozen=True)
class Running:
    """A server that runs on a thread of its own."""

    port: int
    server: PolicyServer
    log: list[str]

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"


@contextlib.contextmanager
def running(served: ServedPolicy, **settings: Any) -> Iterator[Running]:
    served.warm_up()
    there, log, ended = threading.Event(), [], []
    kept: dict[str, Any] = {}

    async def run() -> None:
        kept["stop"], kept["loop"] = asyncio.Event(), asyncio.get_running_loop()
        server = PolicyServer(served, ServeSettings(port=0, **settings), log.append)

        def ready(host: str, port: int) -> None:
            kept["running"] = Running(port, server, log)
            there.set()

        await server.run(kept["stop"], ready)
        ended.append(True)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert there.wait(60)
    try:
        yield kept["running"]
    finally:
        kept["loop"].call_soon_threadsafe(kept["stop"].set)
        thread.join(60)
        assert ended, "the server ended by itself, without an exception"


def served_of(policy: Policy, batch: int = 1, actor: PolicyActor | None = None) -> ServedPolicy:
    """Unsteered; `actor` takes the place of the policy's own."""
    made = ServedPolicy.of(policy, "none", batch)
    return made if actor is None else dataclasses.replace(made, actor=actor)


def observation(seed: int, side: int = 256) -> Observation:
    """A robot somewhere; its quaternion has either sign."""
    rng = np.random.default_rng(seed)
    quaternion = rng.normal(size=4)
    return Observation(
        eef_pos=rng.uniform(-0.5, 1.2, 3),
        eef_quat=quaternion / np.linalg.norm(quaternion),
        gripper_qpos=rng.uniform(-0.04, 0.04, 2),
        joint_pos=rng.normal(size=7),
        images={name: rng.integers(0, 256, (side, side, 3), np.uint8) for name in CAMERAS},
    )


def openpi_axis_angle(quat: np.ndarray) -> np.ndarray:
    """As openpi's LIBERO example writes it, which has it from robosuite."""
    quat = quat.copy()
    if quat[3] > 1.0:
        quat[3] = 1.0
    elif quat[3] < -1.0:
        quat[3] = -1.0
    den = np.sqrt(1.0 - quat[3] * quat[3])
    if math.isclose(den, 0.0):
        return np.zeros(3)
    return (quat[:3] * 2.0 * math.acos(quat[3])) / den


def state_of(seen: Observation) -> np.ndarray:
    """The robot's state as openpi's LIBERO example sends it."""
    return np.concatenate((seen.eef_pos, openpi_axis_angle(seen.eef_quat), seen.gripper_qpos))


def openpi_request(seen: Observation, prompt: str = TEXT) -> dict[str, Any]:
    """As openpi's LIBERO example sends it, but for the resize to 224 pixels."""
    image, wrist = (np.ascontiguousarray(seen.images[name][::-1, ::-1]) for name in CAMERAS)
    return {
        "observation/image": image,
        "observation/wrist_image": wrist,
        "observation/state": state_of(seen),
        "prompt": prompt,
    }


def harness_observation(seen: Observation, text: str = TEXT) -> dict[str, Any]:
    """As the harness's LIBERO benchmark makes it, with the state in float64."""
    image, wrist = (np.ascontiguousarray(seen.images[name][::-1, ::-1]) for name in CAMERAS)
    return {
        "images": {"agentview": image, "wrist": wrist},
        "task_description": text,
        "states": state_of(seen),
    }


def array_by_hand(array: np.ndarray) -> dict[bytes, Any]:
    """An array on openpi's wire, from the facts and not from anybody's encoder."""
    return {
        b"__ndarray__": True,
        b"data": array.tobytes(),
        b"dtype": array.dtype.str,
        b"shape": list(array.shape),
    }


def read_by_hand(found: dict[Any, Any]) -> np.ndarray:
    """An array of a reply, with keys of either kind."""
    told = {key.decode() if isinstance(key, bytes) else key: value for key, value in found.items()}
    assert told.pop("__ndarray__") is True
    assert set(told) == {"data", "dtype", "shape"}
    return np.frombuffer(told["data"], told["dtype"]).reshape(told["shape"])


def openpi_by_hand(request: dict[str, Any]) -> bytes:
    told = {
        key: array_by_hand(value) if isinstance(value, np.ndarray) else value
        for key, value in request.items()
    }
    return msgpack.packb(told)  # type: ignore[return-value]


def message_by_hand(kind: str, payload: Any, seq: Any = 1) -> bytes:
    """A message of the harness."""
    told = {"type": kind, "payload": payload, "seq": seq, "timestamp": 0.0}
    return msgpack.packb(told)  # type: ignore[return-value]
