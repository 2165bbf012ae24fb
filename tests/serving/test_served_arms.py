"""What an arm does to a served query is what it does in an evaluation, and the reply tells it."""

import asyncio
import dataclasses

import jax
import numpy as np
import pytest

from mist_jax.action_units import to_units
from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.evaluation.arms.build import build_arms, build_controller
from mist_jax.evaluation.arms.run_numbers import RunNumbers
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.acting.policy_actor import PolicyActor
from mist_jax.rollout.episode_spec import Turn
from mist_jax.serving.batcher import Batcher
from mist_jax.serving.client import Client
from mist_jax.serving.served_policy import ServedPolicy
from tests.helpers.causal_samples import tiny_causal_bank
from tests.helpers.rollout_samples import SMALL
from tests.helpers.serving_samples import TEXT, observation, openpi_request, running

client_policy = pytest.importorskip("openpi_client.websocket_client_policy")

DANGER = ("x+", "z-", "roll+")
ALARMS = np.array([-1.0 if name in DANGER else np.inf for name in SIGNED_MOTIONS], np.float32)
SIZE = to_units(0.004, 0.04, 8)


@pytest.fixture(scope="module")
def numbers(policy):
    return RunNumbers(alarm_threshold=ALARMS, size=SIZE, causal=tiny_causal_bank(policy))


def risk_head() -> RiskHead:
    return RiskHead.initial(jax.random.key(0), sites={"llm.resid": SMALL.width}, hidden=8, layer=0)


@pytest.mark.parametrize("arm", ["none", "safe_stop", "action_edit", "mist"])
def test_actions_risk_gate_and_changes_are_those_of_an_evaluations_actor(policy, numbers, arm):
    head, seen = risk_head(), observation(4)
    made = build_controller([arm], head, numbers, sites=policy.sites, batch=1)
    actor = PolicyActor(policy, 1, controller=made, arms=build_arms([arm], numbers))
    key = EpisodeKey("libero_spatial", 0, 0, 0, arm)
    inputs = policy.preprocessor(seen, TEXT)
    [wanted] = actor.answer([Turn(key, 0, inputs=inputs, instruction=TEXT, max_steps=220)], [0])
    served = ServedPolicy.of(policy, arm, 1, risk_head=head, numbers=numbers)
    with running(served) as there:
        client = client_policy.WebsocketClientPolicy("127.0.0.1", there.port)
        said = client.infer(openpi_request(seen))
        metadata = client.get_server_metadata()
    np.testing.assert_array_equal(said["actions"], wanted.chunk)
    told = said["mist"]
    for name, values in (("risk", wanted.risk), ("wanted", wanted.wanted)):
        np.testing.assert_array_equal(list(told[name].values()), values)
    np.testing.assert_array_equal(list(told["realised"].values()), wanted.realised)
    np.testing.assert_array_equal(told["gate"], wanted.gate)
    assert tuple(told["risk"]) == SIGNED_MOTIONS
    assert tuple(told["wanted"]) == tuple(told["realised"]) == ACTION_DIMENSIONS
    assert told["alarms"] == list(DANGER)
    assert told["gate_open"] == (arm == "mist") == bool(wanted.gate.any())
    assert told["edited"] == (arm in ("safe_stop", "action_edit"))
    assert any(told["realised"].values()) == (arm != "none")
    assert metadata["threshold"] == dict.fromkeys(DANGER, -1.0)
    assert metadata["arm"] == arm


def test_the_phase_and_the_motion_that_arms_see_follow_what_was_executed(policy):
    turns: list[Turn] = []

    class Watching(PolicyActor):
        def answer(self, asked, queries):
            turns.extend(asked)
            return super().answer(asked, queries)

    served = dataclasses.replace(ServedPolicy.of(policy, "none", 1), actor=Watching(policy, 1))
    seen, request = observation(0), openpi_request(observation(0))
    with running(served, max_steps=300, replan_steps=3) as there:
        client = client_policy.WebsocketClientPolicy("127.0.0.1", there.port)
        turns.clear()
        said = [client.infer(request) for _ in range(3)]
    assert [turn.step for turn in turns] == [0, 3, 6]
    assert {turn.max_steps for turn in turns} == {300}
    assert {turn.instruction for turn in turns} == {TEXT}
    assert turns[0].motion is not None
    assert not turns[0].motion.any()
    for turn, before in zip(turns[1:], said, strict=False):
        assert turn.motion is not None
        np.testing.assert_allclose(turn.motion, before["actions"][:3].mean(axis=0), rtol=1e-6)
        assert turn.eef_pos is not None
        assert turn.gripper_qpos is not None
        np.testing.assert_array_equal(turn.eef_pos, seen.eef_pos)
        np.testing.assert_array_equal(turn.gripper_qpos, seen.gripper_qpos)
        assert turn.eef_quat is not None
        np.testing.assert_allclose(turn.eef_quat, seen.eef_quat, atol=1e-6)


@pytest.mark.parametrize("arm", ["replayed", "oracle"])
def test_an_arm_that_knows_episodes_beforehand_cannot_be_served(policy, arm):
    with pytest.raises(UserError, match=f"--interventions={arm} cannot be served"):
        ServedPolicy.of(policy, arm, 1)


def test_an_arm_that_cannot_act_is_refused_as_in_an_evaluation(policy):
    with pytest.raises(UserError, match="safe_stop cannot act"):
        ServedPolicy.of(policy, "safe_stop", 1, risk_head=risk_head())


def test_no_two_episodes_share_a_key(policy):
    """Noise, random turns and memories are an episode's own."""

    async def keys() -> list[EpisodeKey]:
        served = ServedPolicy.of(policy, "none", 1)
        batcher, found = Batcher(served, 0.0), []
        for number in range(2):
            client = Client(served, batcher, "openpi", number)
            for _ in range(3):
                client.begin(220)
                found.append(client.key)
                client.query = 1
        batcher.close()
        return found

    found = asyncio.run(keys())
    assert len(set(found)) == 6
