"""The harness's own client against the server, and messages written by hand from the facts."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
from websockets.sync.client import connect

from mist_jax.serving.served_policy import ServedPolicy
from tests.helpers.rollout_samples import SMALL
from tests.helpers.serving_samples import (
    TEXT,
    array_by_hand,
    harness_observation,
    message_by_hand,
    observation,
    read_by_hand,
    running,
    served_of,
)
from tests.helpers.toy_reader import ToyReader

connection = pytest.importorskip("vla_eval.connection")
specs = pytest.importorskip("vla_eval.specs")
numpy_codec = pytest.importorskip("vla_eval.protocol.numpy_codec")

START = {"task": {"name": TEXT, "suite": "libero_spatial", "task_id": 0}}


@pytest.fixture(scope="module", params=["vla-eval", "both"])
def server(policy, request):
    with running(served_of(policy), protocol=request.param) as there:
        yield there


def with_client(there, act: Callable) -> Any:
    async def go() -> Any:
        async with connection.Connection(there.url, max_retries=1) as client:
            return await act(client)

    return asyncio.run(go())


def chunk_of(policy, seen) -> np.ndarray:
    return policy.predict([seen], [TEXT]).actions[0]


def test_one_action_for_each_observation_of_a_chunk_bit_for_bit(policy, server):
    seen = [observation(seed) for seed in range(10)]

    async def act(client):
        await client.start_episode(START)
        return [await client.act(harness_observation(one)) for one in seen]

    said = with_client(server, act)
    expected = [*chunk_of(policy, seen[0]), *chunk_of(policy, seen[8])[:2]]
    for action, wanted in zip(said, expected, strict=True):
        np.testing.assert_array_equal(action["actions"], wanted)
        assert action["actions"].shape == (7,)
        assert action["actions"][-1] in (-1, 1)
    assert [one["mist"]["chunk_step"] for one in said] == [*range(8), 0, 1]
    assert [one["mist"]["query"] for one in said] == [0] * 8 + [1] * 2
    assert said[8]["mist"]["step"] == 8


def test_an_axis_angle_in_float32_as_the_benchmark_sends_it_moves_actions_by_less_than_1e_4(
    policy, server
):
    seen = observation(5)
    told = harness_observation(seen)
    told["states"][3:6] = told["states"][3:6].astype(np.float32)
    [action] = [with_client(server, lambda client: client.act(told))]
    np.testing.assert_allclose(action["actions"], chunk_of(policy, seen)[0], atol=1e-4)


@pytest.mark.parametrize("form", ["png", "raw"])
def test_lossless_pictures_of_either_form_are_the_same_observation(policy, server, form):
    seen, before = observation(21), numpy_codec.get_image_format()
    numpy_codec.set_image_format(form)
    try:
        said = with_client(server, lambda client: client.act(harness_observation(seen)))
    finally:
        numpy_codec.set_image_format(before)
    np.testing.assert_array_equal(said["actions"], chunk_of(policy, seen)[0])


def test_an_episode_start_and_an_end_clear_what_was_left_of_the_chunk(policy, server):
    one, other = observation(1), observation(2)

    async def act(client):
        said = []
        for signal in (client.start_episode, client.end_episode):
            await client.act(harness_observation(one))
            await client.act(harness_observation(one))
            await signal(START)
            said.append(await client.act(harness_observation(other)))
        return said

    for action in with_client(server, act):
        np.testing.assert_array_equal(action["actions"], chunk_of(policy, other)[0])


def test_what_a_head_remembers_ends_with_the_episode(policy):
    reader: Any = ToyReader.of({"llm.resid": (1, SMALL.width)}, layer=2)
    served, seen = ServedPolicy.of(policy, "none", 1, risk_head=reader), observation(0)

    async def act(client):
        risks = []
        for _ in range(2):
            await client.start_episode(START)
            said = [await client.act(harness_observation(seen)) for _ in range(9)]
            risks.append([said[0]["mist"]["risk"], said[8]["mist"]["risk"]])
        return risks

    with running(served, protocol="vla-eval") as there:
        first, second = with_client(there, act)
    assert first == second
    assert first[0] != first[1]
    assert list(first[0])[:3] == ["x+", "x-", "y+"]
    assert not served.actor._pasts, "what has gone is forgotten"  # pyright: ignore


def test_the_hello_asks_for_what_the_policy_takes_and_the_harness_finds_nothing_to_warn_of(server):
    async def info(client):
        return client.server_info

    told = with_client(server, info)
    assert told["protocol_version"] == 1
    assert told["observation_params"] == {
        "env_seed": 0,
        "quat_no_antipodal": True,
        "send_wrist_image": True,
        "send_state": True,
    }
    json.dumps(told)  # the harness keeps it with its results
    ours = {
        part: {key: specs.DimSpec.from_dict(value) for key, value in told[part].items()}
        for part in ("action_spec", "observation_spec")
    }
    # As its LIBERO benchmark declares them.
    actions = {
        "position": specs.POSITION_DELTA,
        "rotation": specs.ROTATION_AA,
        "gripper": specs.GRIPPER_CLOSE_POS,
    }
    seen = {
        "agentview": specs.IMAGE_RGB,
        "wrist": specs.IMAGE_RGB,
        "state": specs.STATE_EEF_POS_AA_GRIP,
        "language": specs.LANGUAGE,
    }
    warned = specs.check_specs(ours["action_spec"], actions, ours["observation_spec"], seen)
    assert warned == []


def payload_by_hand(seed: int = 0) -> dict[str, Any]:
    """Pictures raw, as text-keyed maps."""
    told = harness_observation(observation(seed))

    def raw(picture: np.ndarray) -> dict[str, Any]:
        shape = list(picture.shape)
        return {"__image__": True, "format": "raw", "data": picture.tobytes(), "shape": shape}

    state = {key.decode(): value for key, value in array_by_hand(told["states"]).items()}
    pictures = {name: raw(picture) for name, picture in told["images"].items()}
    return {"images": pictures, "task_description": TEXT, "states": state}


def greeted(socket) -> dict[str, Any]:
    """The server's hello: after the client's, or before it where both protocols are served."""
    socket.send(message_by_hand("hello", {"harness_version": "0.4", "protocol_version": 1}, 1))
    return msgpack.unpackb(socket.recv())


def test_messages_written_by_hand_are_answered_in_the_form_of_the_facts(policy, server):
    with connect(server.url, compression=None, max_size=None) as socket:
        told = greeted(socket)
        assert set(told) >= {"type", "payload", "seq", "timestamp"}
        assert told["type"] == "hello"
        socket.send(message_by_hand("episode_start", {"task": {}}, 2))
        socket.send(message_by_hand("observation", payload_by_hand(), 41))
        said = msgpack.unpackb(socket.recv())
        assert set(said) == {"type", "payload", "seq", "timestamp"}
        assert (said["type"], said["seq"]) == ("action", 41)
        action = read_by_hand(said["payload"]["actions"])
        np.testing.assert_array_equal(action, chunk_of(policy, observation(0))[0])
        socket.send(message_by_hand("hello", {}, 42))  # a second one is answered anywhere
        assert msgpack.unpackb(socket.recv())["seq"] == 42


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in payload_by_hand().items() if key != name}


BAD = [
    (message_by_hand("observation", without("images"), 7), 7, "no 'images'"),
    (message_by_hand("observation", without("task_description"), 7), 7, "no 'task_description'"),
    (message_by_hand("observation", without("states"), 7), 7, "no 'state'"),
    (
        message_by_hand(
            "observation",
            {**payload_by_hand(), "images": {"agentview": payload_by_hand()["images"]["wrist"]}},
            8,
        ),
        8,
        "no 'images/wrist'",
    ),
    (
        message_by_hand(
            "observation",
            {**payload_by_hand(), "images": {"agentview": {"__image__": True, "format": "png"}}},
            9,
        ),
        9,
        "images/agentview: a picture is raw, png or jpeg",
    ),
    (message_by_hand("observation", {**payload_by_hand(), "images": 3}, 7), 7, "no 'images'"),
    (message_by_hand("action", {}, 3), 3, "not 'action'"),
    (message_by_hand("dance", {}, 3), 3, "not 'dance'"),
    (message_by_hand("observation", [1], 3), 3, "payload is a map"),
    (message_by_hand("observation", {}, "four"), 0, "seq a whole number"),
    (msgpack.packb({"type": "hello", "payload": {}}), 0, "has no 'seq'"),
    (msgpack.packb({"prompt": "pick"}), 0, "has no 'type'"),
    (b"\xc1", 0, "no msgpack"),
    ("text", 0, "this one is text"),
]


@pytest.mark.parametrize(("frame", "seq", "why"), BAD)
def test_a_bad_message_is_answered_by_an_error_and_the_connection_goes_on(
    policy, server, frame, seq, why
):
    with connect(server.url, compression=None, max_size=None) as socket:
        greeted(socket)
        if server.server._settings.protocol == "both":  # the greeting came unasked
            socket.send(message_by_hand("hello", {}, 2))
            socket.recv()
        socket.send(frame)
        said = msgpack.unpackb(socket.recv())
        assert (said["type"], said["seq"]) == ("error", seq)
        assert why in said["payload"]["error"]
        socket.send(message_by_hand("error", {"error": "mine"}, 10))  # is not answered
        socket.send(message_by_hand("observation", payload_by_hand(4), 11))
        said = msgpack.unpackb(socket.recv())
        assert (said["type"], said["seq"]) == ("action", 11)
        action = read_by_hand(said["payload"]["actions"])
        np.testing.assert_array_equal(action, chunk_of(policy, observation(4))[0])


def test_the_harness_client_raises_the_servers_error(server):
    async def act(client):
        await client.act({"images": {}, "task_description": TEXT})

    with pytest.raises(RuntimeError, match="no 'images/agentview'"):
        with_client(server, act)
