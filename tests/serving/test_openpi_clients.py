"""openpi's own client against the server, and frames written by hand from the protocol's facts."""

import dataclasses
import re
from typing import Any

import msgpack
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from mist_jax.policy.preprocessing.images import rotate_180
from mist_jax.record.observation import CAMERAS
from mist_jax.serving.served_policy import ServedPolicy
from tests.helpers.rollout_samples import SMALL
from tests.helpers.serving_samples import (
    TEXT,
    observation,
    openpi_by_hand,
    openpi_request,
    read_by_hand,
    running,
    served_of,
)
from tests.helpers.toy_reader import ToyReader

client_policy = pytest.importorskip("openpi_client.websocket_client_policy")
broker = pytest.importorskip("openpi_client.action_chunk_broker")
image_tools = pytest.importorskip("openpi_client.image_tools")

BATCH = 2


@pytest.fixture(scope="module", params=["openpi", "both"])
def server(policy, request):
    with running(served_of(policy, BATCH), protocol=request.param) as there:
        yield there


def client_of(there) -> Any:
    return client_policy.WebsocketClientPolicy("127.0.0.1", there.port)


def test_the_served_chunk_is_the_policys_own_bit_for_bit(policy, server):
    client = client_of(server)
    for seed in range(4):
        seen = observation(seed)
        said = client.infer(openpi_request(seen))
        expected = policy.predict([seen] * BATCH, [TEXT] * BATCH).actions[0]
        np.testing.assert_array_equal(said["actions"], expected)
        assert said["actions"].dtype == np.float32
        assert said["actions"].shape == (8, 7)
        assert np.isin(said["actions"][:, -1], (-1.0, 1.0)).all(), "-1 opens, +1 closes"


def test_pictures_of_224_pixels_are_taken_as_they_come(policy, server):
    """What the client's resize took away is gone; nothing else is done to them."""
    seen = observation(7)
    request = openpi_request(seen)
    for name in ("observation/image", "observation/wrist_image"):
        request[name] = image_tools.resize_with_pad(request[name], 224, 224)
    said = client_of(server).infer(request)
    pictures = [request["observation/image"], request["observation/wrist_image"]]
    images = {name: rotate_180(one) for name, one in zip(CAMERAS, pictures, strict=True)}
    resized = dataclasses.replace(seen, images=images)
    expected = policy.predict([resized] * BATCH, [TEXT] * BATCH).actions[0]
    np.testing.assert_array_equal(said["actions"], expected)


def test_the_metadata_says_what_is_served_and_replies_are_timed(policy, server):
    client = client_of(server)
    told = client.get_server_metadata()
    assert told["model"] == policy.identity
    assert told["arm"] == "none"
    assert told["chunk"] == 8
    assert told["threshold"] == {}
    first, second = (client.infer(openpi_request(observation(0))) for _ in range(2))
    assert "prev_total_ms" not in first["server_timing"]
    for said in (first, second):
        assert 0 < said["policy_timing"]["infer_ms"] <= said["server_timing"]["infer_ms"]
    assert second["server_timing"]["prev_total_ms"] >= first["server_timing"]["infer_ms"]
    assert [one["mist"]["query"] for one in (first, second)] == [0, 1]
    assert [one["mist"]["step"] for one in (first, second)] == [0, 5]
    assert "risk" not in first["mist"], "nothing is told of a risk that nobody reads"


def test_openpis_own_chunk_broker_can_slice_a_reply(server):
    chunked = broker.ActionChunkBroker(client_of(server), action_horizon=8)
    whole = client_of(server).infer(openpi_request(observation(3)))["actions"]
    for step in range(8):
        said = chunked.infer(openpi_request(observation(3)))
        np.testing.assert_array_equal(said["actions"], whole[step])
        assert said["mist"]["arm"] == "none"


def test_a_frame_written_by_hand_is_answered_in_the_form_of_the_facts(policy, server):
    with connect(server.url, compression=None, max_size=None) as socket:
        assert isinstance(msgpack.unpackb(socket.recv()), dict), "the server speaks first"
        seen = observation(11)
        socket.send(openpi_by_hand(openpi_request(seen)))
        said = msgpack.unpackb(socket.recv())
    assert set(said) == {"actions", "policy_timing", "server_timing", "mist"}
    assert set(said["actions"]) == {b"__ndarray__", b"data", b"dtype", b"shape"}
    actions = read_by_hand(said["actions"])
    expected = policy.predict([seen] * BATCH, [TEXT] * BATCH).actions[0]
    np.testing.assert_array_equal(actions, expected)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in openpi_request(observation(0)).items() if key != name}


def with_(**changes: Any) -> dict[str, Any]:
    told = {name.replace("__", "/"): value for name, value in changes.items()}
    return {**openpi_request(observation(0)), **told}


BAD = [
    (without("prompt"), "no 'prompt'"),
    (without("observation/wrist_image"), "no 'observation/wrist_image'"),
    (without("observation/state"), "no 'observation/state'"),
    (with_(prompt="  "), "instruction is empty"),
    (with_(prompt=3), "prompt must be text, not int"),
    (with_(observation__image=np.zeros((8, 8, 3), np.float32)), r"uint8 \[H, W, 3\], not float32"),
    (with_(observation__image=np.zeros((3, 8, 8), np.uint8)), r"not uint8 \[3, 8, 8\]"),
    (with_(observation__image=np.zeros((0, 8, 3), np.uint8)), r"not uint8 \[0, 8, 3\]"),
    (with_(observation__image=[1, 2]), "must be an array or a picture, not list"),
    (with_(observation__state=np.zeros(7)), r"must be 8 numbers .* not \[7\]"),
    (with_(observation__state=np.full(8, np.nan)), "not finite"),
    (with_(observation__state="abc"), "must be 8 numbers"),
    (with_(reset=1), "reset is true or false, not int"),
]


@pytest.mark.parametrize(("request_", "why"), BAD)
def test_a_bad_request_ends_its_connection_with_the_reason_and_no_other(server, request_, why):
    other = client_of(server)
    with connect(server.url, compression=None, max_size=None) as socket:
        socket.recv()
        socket.send(openpi_by_hand(request_))
        said = socket.recv()
        assert isinstance(said, str), "an error is a text frame"
        assert re.search(why, said), said
        assert "\n" not in said
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011
    assert other.infer(openpi_request(observation(1)))["actions"].shape == (8, 7)
    with pytest.raises(RuntimeError, match=why):
        client_of(server).infer(request_)


@pytest.fixture(scope="module")
def remembering(policy):
    reader: Any = ToyReader.of({"llm.resid": (1, SMALL.width)}, layer=2)
    return ServedPolicy.of(policy, "none", 1, risk_head=reader)


def risks_of(there, requests) -> list[dict[str, float]]:
    client = client_of(there)
    return [client.infer(one)["mist"]["risk"] for one in requests]


def test_an_episode_lasts_as_long_as_its_connection_its_prompt_or_until_a_reset(remembering):
    plain = openpi_request(observation(0))
    with running(remembering) as there:
        first, second = risks_of(there, [plain] * 2)
        assert first != second, "the head remembers"
        assert risks_of(there, [plain] * 2) == [first, second], "a connection begins an episode"
        again = risks_of(there, [plain, {**plain, "reset": True}, {**plain, "reset": False}])
        assert again == [first, first, second]
        other = {**plain, "prompt": "pick up the plate"}
        [alone] = risks_of(there, [other])
        assert risks_of(there, [plain, plain, other, plain]) == [first, second, alone, first]
    with running(remembering, openpi_episode="request") as there:
        assert risks_of(there, [plain] * 3) == [first] * 3
    assert not remembering.actor._pasts, "what has gone is forgotten"  # pyright: ignore


def test_a_message_larger_than_the_bound_is_refused_and_others_go_on(policy):
    with running(served_of(policy), protocol="openpi", max_message=200_000) as there:
        with connect(there.url, compression=None, max_size=None) as socket:
            socket.recv()
            socket.send(openpi_by_hand(openpi_request(observation(0))))  # 393 kB of pixels
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
        small = client_of(there).infer(openpi_request(observation(0, side=64)))
        assert small["actions"].shape == (8, 7)


def test_a_page_in_a_browser_may_not_ask(policy):
    with (
        running(served_of(policy)) as there,
        pytest.raises(Exception, match="403"),
        connect(there.url, origin="https://example.org"),  # type: ignore[arg-type]
    ):
        pass
