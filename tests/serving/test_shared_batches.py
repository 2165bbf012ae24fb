"""Clients share batches of one compiled forward, and nothing else."""

import asyncio
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import mist_jax.policy.policy
from mist_jax.rollout.acting.policy_actor import PolicyActor
from tests.helpers.serving_samples import (
    TEXT,
    harness_observation,
    observation,
    openpi_by_hand,
    openpi_request,
    running,
    served_of,
)

client_policy = pytest.importorskip("openpi_client.websocket_client_policy")
connection = pytest.importorskip("vla_eval.connection")

LONG = 60.0  # s; a batch that is not full within it fails its test


def infer(there, *requests: dict[str, Any]) -> list[Any]:
    client = client_policy.WebsocketClientPolicy("127.0.0.1", there.port)
    try:
        return [client.infer(request)["actions"] for request in requests]
    finally:
        client._ws.close()  # else it might still ask, and batches wait for it


def infer_as_harness(there, seen, steps: int) -> list[Any]:
    async def go() -> list[Any]:
        async with connection.Connection(there.url, max_retries=1) as client:
            await client.start_episode({"task": {}})
            return [(await client.act(harness_observation(seen)))["actions"] for _ in range(steps)]

    return asyncio.run(go())


@contextlib.contextmanager
def connected(there):
    """A connection that nothing is asked over yet; the server has greeted it."""
    with connect(there.url, compression=None, max_size=None) as socket:
        socket.recv()
        yield socket


def wait_for_clients(there, count: int) -> None:
    until = time.monotonic() + LONG
    while there.server.batcher.clients < count:
        assert time.monotonic() < until
        time.sleep(0.01)


class Held(PolicyActor):
    """Answers when it is let; what it is asked is kept."""

    def __init__(self, policy, batch: int):
        super().__init__(policy, batch)
        self.asked: list[int] = []
        self.entered, self.let = threading.Event(), threading.Event()
        self.let.set()

    def answer(self, turns, queries):
        self.asked.append(len(turns))
        if any("boom" in turn.instruction for turn in turns):
            raise RuntimeError("out of\nluck")
        self.entered.set()
        assert self.let.wait(LONG)
        return super().answer(turns, queries)


def test_four_clients_of_both_protocols_fill_every_batch_and_get_their_own_answers(
    policy, monkeypatch
):
    seen = [observation(seed) for seed in range(4)]
    expected = [policy.predict([one] * 4, [TEXT] * 4).actions[0] for one in seen]
    calls: list[int] = []
    forward = mist_jax.policy.policy.forward

    def counted(model, parameters, batch, *rest, **more):
        calls.append(len(batch.images))
        return forward(model, parameters, batch, *rest, **more)

    with running(served_of(policy, 4), wait=LONG) as there, ThreadPoolExecutor(4) as clients:
        monkeypatch.setattr(mist_jax.policy.policy, "forward", counted)
        asked = [openpi_request(one) for one in seen[:2]]
        with contextlib.ExitStack() as idle:
            for _ in range(4):  # batches wait for them until they have gone
                idle.enter_context(connected(there))
            answers = [clients.submit(infer, there, *[one] * 3) for one in asked]
            answers += [clients.submit(infer_as_harness, there, one, 17) for one in seen[2:]]
            wait_for_clients(there, 8)
        said = [answer.result(LONG) for answer in answers]
    assert calls == [4, 4, 4], "three chunks of each of four clients in three calls"
    for chunks, wanted in zip(said[:2], expected[:2], strict=True):
        for chunk in chunks:
            np.testing.assert_array_equal(chunk, wanted)
    for actions, wanted in zip(said[2:], expected[2:], strict=True):
        np.testing.assert_array_equal(actions, [*wanted, *wanted, wanted[0]])


def test_one_client_does_not_wait_for_company_that_cannot_come(policy):
    with running(served_of(policy, 4), wait=LONG) as there:
        began = time.monotonic()
        infer(there, openpi_request(observation(0)))
        assert time.monotonic() - began < LONG / 2
        assert (there.server.batcher.batches, there.server.batcher.answered) == (1, 1)


def test_a_question_waits_as_long_as_it_is_told_to_and_no_longer(policy):
    with running(served_of(policy, 2), wait=0.5) as there, connected(there):
        began = time.monotonic()
        infer(there, openpi_request(observation(0)))
        assert time.monotonic() - began >= 0.5
        assert there.server.batcher.batches == 1


def test_a_client_that_goes_before_its_batch_is_full_is_not_asked_for(policy):
    actor = Held(policy, 3)
    with running(served_of(policy, actor=actor), wait=LONG) as there, ThreadPoolExecutor(1) as pool:
        actor.asked.clear()
        batcher, until = there.server.batcher, time.monotonic() + LONG
        with connected(there):
            with connected(there) as leaving:
                leaving.send(openpi_by_hand(openpi_request(observation(1))))
                staying = pool.submit(infer, there, openpi_request(observation(2)))
                while len(batcher._waiting) < 2:  # pyright: ignore
                    assert time.monotonic() < until
                    time.sleep(0.01)
            while batcher.clients > 2:  # else the idle one's leaving would make the batch full
                assert time.monotonic() < until
                time.sleep(0.01)
        [said] = staying.result(LONG)
    assert actor.asked == [1]
    wanted = policy.predict([observation(2)] * 3, [TEXT] * 3).actions[0]
    np.testing.assert_array_equal(said, wanted)


def test_a_client_that_goes_while_its_batch_runs_loses_nothing_of_its_neighbour(policy):
    actor = Held(policy, 2)
    with running(served_of(policy, actor=actor), wait=LONG) as there, ThreadPoolExecutor(1) as pool:
        actor.asked.clear()
        with connected(there) as leaving:
            actor.let.clear()
            actor.entered.clear()
            staying = pool.submit(infer, there, openpi_request(observation(2)))
            wait_for_clients(there, 2)
            leaving.send(openpi_by_hand(openpi_request(observation(1))))
            assert actor.entered.wait(LONG)
        actor.let.set()
        [said] = staying.result(LONG)
        assert not there.log
    assert actor.asked == [2]
    wanted = policy.predict([observation(2)] * 2, [TEXT] * 2).actions[0]
    np.testing.assert_array_equal(said, wanted)


@pytest.mark.parametrize("protocol", ["openpi", "vla-eval"])
def test_an_error_of_the_policy_is_told_to_whose_question_it_is_of_alone(policy, protocol):
    actor = Held(policy, 2)

    def failing(there) -> str:
        if protocol == "openpi":
            with pytest.raises(RuntimeError) as told:
                infer(there, openpi_request(observation(1), "boom"))
            return str(told.value)

        async def go() -> str:
            async with connection.Connection(there.url, max_retries=1) as client:
                with pytest.raises(RuntimeError) as told:
                    await client.act(harness_observation(observation(1), "boom"))
                action = await client.act(harness_observation(observation(3)))  # it goes on
                wanted = policy.predict([observation(3)] * 2, [TEXT] * 2).actions[0]
                np.testing.assert_array_equal(action["actions"], wanted[0])
                return str(told.value)

        return asyncio.run(go())

    with running(served_of(policy, actor=actor), wait=LONG) as there, ThreadPoolExecutor(2) as pool:
        actor.asked.clear()
        with connected(there):  # so that the first to ask waits for the other
            error = pool.submit(failing, there)
            wait_for_clients(there, 2)
            answer = pool.submit(infer, there, openpi_request(observation(2)))
            wait_for_clients(there, 3)
        [said] = answer.result(LONG)
        assert "the policy failed: RuntimeError: out of luck" in error.result(LONG)
        assert len(there.log) == 1
        assert "Traceback" in there.log[0]
    assert actor.asked[:3] == [2, 1, 1], "together, then each by itself"
    wanted = policy.predict([observation(2)] * 2, [TEXT] * 2).actions[0]
    np.testing.assert_array_equal(said, wanted)


def test_clients_are_told_that_the_server_goes(policy):
    with contextlib.ExitStack() as stays:
        with running(served_of(policy)) as there:
            socket = stays.enter_context(connected(there))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


def test_a_server_that_goes_while_its_policy_is_busy_still_forgets_who_was_there(policy):
    forgotten = set()

    class Slow(PolicyActor):
        def forget(self, key):
            time.sleep(0.2)
            forgotten.add(key)

    busy = served_of(policy, actor=Slow(policy, 1))
    with contextlib.ExitStack() as stays, running(busy) as there:
        for _ in range(3):
            stays.enter_context(connected(there))
    assert len([key for key in forgotten if key.suite != "warm_up"]) == 3
