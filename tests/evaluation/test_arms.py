"""Arms: what each does to a query, and that a control is one."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mist_jax.evaluation.arms.rotation import rotated
from numpy.typing import ArrayLike

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.evaluation.arms.build import build_arms, build_controller, run_numbers
from mist_jax.evaluation.arms.checks import check_acting, check_arms
from mist_jax.evaluation.arms.registry import ARMS
from mist_jax.intervention.gate import ThresholdGate
from mist_jax.intervention.risk_head import RiskHead
from mist_jax.intervention.site import ModelSite
from mist_jax.loading import load_policy
from mist_jax.policy.openvla_oft.sites import sites_of
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.arm import Unsteered
from mist_jax.rollout.episode_spec import Turn
from mist_jax.rollout.policy_actor import PolicyActor
from mist_jax.steering.bank import BankMetadata, SteeringBank
from mist_jax.steering.extraction import random_directions
from tests.helpers.rollout_samples import SMALL, inputs_of, save_tiny_policy

LAYERS = (2, 3)
NAMES = tuple(row.name for row in ARMS)
ALL_OPEN = np.full(14, -1.0, np.float32)  # every risk is an alarm
NEVER = np.full(14, np.inf, np.float32)


def bank(layers: tuple[int, ...] = LAYERS) -> SteeringBank:
    found = random_directions(SIGNED_MOTIONS, len(layers), SMALL.width, seed=3)
    found = dataclasses.replace(found, method="contrast")
    norms = np.linspace(2.0, 3.0, len(layers)).astype(np.float32)
    return SteeringBank.join([found], norms, SMALL.layers, BankMetadata(layers=layers))


def turn(arm: str, state: int = 0, motion=None) -> Turn:
    key = EpisodeKey("libero_spatial", 0, state, 0, arm)
    moves = np.array([1, -1, 0, 0, 0.5, 0, 1], np.float32) if motion is None else motion
    return Turn(key, 8, inputs=inputs_of(key, 8), motion=moves)


def arms(threshold=ALL_OPEN, names=NAMES, rate: ArrayLike = 0.5, bank_of=LAYERS):
    return build_arms(names, numbers(threshold, names, rate, bank=bank(bank_of)))


def numbers(threshold=ALL_OPEN, names=NAMES, rate: ArrayLike = 0.5, **changes):
    given = {"coefficient": 0.2, "bank": bank(), "gate_rate": np.full(14, rate)} | changes
    return run_numbers(names, alarm_threshold=threshold, **given)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arms") / "policy"
    save_tiny_policy(folder)
    return load_policy(folder)


def answers(policy, threshold, turns, query=0):
    head = RiskHead.initial(jax.random.key(0), sites={"llm.resid": SMALL.width}, hidden=8, layer=0)
    controller = build_controller(NAMES, head, sites=sites_of(SMALL), bank=bank())
    actor = PolicyActor(policy, len(turns), controller=controller, arms=arms(threshold))
    return actor.answer(turns, [query] * len(turns))


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 4))
def test_a_rotation_keeps_every_length_and_angle(seed, directions, layers):
    vectors = np.random.default_rng(seed).standard_normal((directions, layers, 12)).astype("f")
    vectors[:, 0] = 0  # a layer that is not steered
    turned = rotated(vectors, seed)
    before, after = (v.reshape(-1, 12) @ v.reshape(-1, 12).T for v in (vectors, turned))
    np.testing.assert_allclose(after, before, atol=1e-4)
    assert np.all(turned[:, 0] == 0)


def test_rotations_point_anywhere():
    vector = np.zeros((1, 1, 3), np.float32)
    vector[..., 0] = 1
    drawn = np.stack([rotated(vector, seed)[0, 0] for seed in range(400)])
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.12)
    np.testing.assert_allclose(drawn.T @ drawn / len(drawn), np.eye(3) / 3, atol=0.06)


def test_without_alarms_a_push_opposes_the_present_motion_dimension_by_dimension():
    arm = arms()["mist_ungated"]
    strength = arm.coefficient(turn("mist_ungated"), 1)
    chosen = {SIGNED_MOTIONS[i] for i in np.flatnonzero(strength)}
    assert chosen == {"x+", "y-", "pitch+", "gripper+"}
    assert set(strength[strength != 0]) == {np.float32(0.2)}
    assert not arm.coefficient(turn("mist_ungated", motion=np.zeros(7, np.float32)), 0).any()


def test_an_alarm_opens_the_push_of_its_own_signed_motion_whatever_the_motion_was():
    still = turn("mist", motion=np.zeros(7, np.float32))
    strength = arms()["mist"].coefficient(still, 0)
    np.testing.assert_array_equal(strength[:14], np.full(14, np.float32(0.2)))
    head = RiskHead.off(sites={"llm.resid": SMALL.width})
    controller = build_controller(("mist",), head, sites=sites_of(SMALL), bank=bank())
    gate = ThresholdGate.of(0.5, controller.gates, 1)
    for motion, name in enumerate(SIGNED_MOTIONS):
        opened = np.asarray(gate.opened(jnp.eye(14)[motion][None]))[0]
        assert [SIGNED_MOTIONS[i] for i in np.flatnonzero(opened)] == [name]


def test_random_is_mist_with_turned_directions_and_the_same_gate():
    made = arms()
    controller = build_controller(
        NAMES, RiskHead.off(sites={"llm.resid": SMALL.width}), sites=sites_of(SMALL), bank=bank()
    )
    blocks = set()
    for state in range(30):
        pushes, gates = [], []
        for name in ("mist", "random"):
            strength = made[name].coefficient(turn(name, state), 1)
            pushes.append(np.einsum("v,vld->ld", strength, controller.vectors))
            gates.append(controller.gates[strength != 0])
        np.testing.assert_array_equal(*gates)
        np.testing.assert_array_equal(made["mist"].threshold, made["random"].threshold)
        lengths = [np.linalg.norm(push, axis=1) for push in pushes]
        np.testing.assert_allclose(*lengths, rtol=1e-4)
        blocks.add(int(np.flatnonzero(strength)[0]) // len(SIGNED_MOTIONS))
    assert len(blocks) > 3
    assert 0 not in blocks


def test_an_episode_keeps_its_random_direction():
    arm = arms()["random"]
    first, second = (np.flatnonzero(arm.coefficient(turn("random", 4), q)) for q in (1, 9))
    np.testing.assert_array_equal(first, second)


def test_random_times_open_each_motion_at_its_own_rate():
    rate = np.linspace(0, 0.9, 14)
    arm = arms(rate=rate)["random_times"]
    drawn = np.stack([arm.coefficient(turn("random_times"), q) > 0 for q in range(600)])
    np.testing.assert_allclose(drawn[:, :14].mean(axis=0), rate, atol=0.06)
    assert not drawn[:, 14:].any()


def test_all_arms_share_one_batch_and_only_those_asked_to_act_do(policy):
    # The same inputs in every row: what differs is the arm.
    turns = [turn(name) for name in NAMES]
    acting = dict(zip(NAMES, answers(policy, ALL_OPEN, turns), strict=True))
    silent = dict(zip(NAMES, answers(policy, NEVER, turns), strict=True))
    plain = PolicyActor(policy, len(turns), arms={name: Unsteered() for name in NAMES})
    untouched = plain.answer(turns, [0] * len(turns))[0].chunk
    for name in NAMES:
        if name not in ("mist_ungated", "random_times"):  # all others wait for an alarm
            np.testing.assert_array_equal(silent[name].chunk, untouched)
            assert not silent[name].gate.any()
    for name in ("random", "mist", "mist_ungated", "shrink"):
        assert acting[name].gate[list(LAYERS)].all(), name
        assert not np.array_equal(acting[name].raw_actions, acting["none"].raw_actions), name
    np.testing.assert_array_equal(acting["none"].chunk, untouched)


def test_controls_push_at_the_layers_that_mist_pushes_at_with_its_dose(policy):
    """Alarms of mist and random are forced, by a threshold that risk alone is above."""
    everywhere = tuple(range(SMALL.layers))
    names = ("random", "random_times", "mist_ungated", "mist")
    head = RiskHead.initial(jax.random.key(0), sites={"llm.resid": SMALL.width}, hidden=8, layer=1)
    whole = bank(everywhere)
    controller = build_controller(names, head, sites=sites_of(SMALL), bank=whole)
    made = arms(np.zeros(14, np.float32), names, rate=1.0, bank_of=everywhere)
    actor = PolicyActor(policy, len(names), controller=controller, arms=made)
    said = actor.answer([turn(name) for name in names], [0] * len(names))
    gates = {name: answer.gate for name, answer in zip(names, said, strict=True)}
    for name, gate in gates.items():
        assert np.flatnonzero(gate).tolist() == [2, 3], name
        first = 2  # later layers see activations that the pushes have made different
        if name != "mist_ungated":  # which knows one way of each dimension alone
            np.testing.assert_allclose(gate[first], gates["mist"][first], rtol=1e-3, err_msg=name)
    np.testing.assert_array_equal(gates["random_times"], gates["mist"])


def test_brakes_keep_the_gripper_and_release_when_risk_falls(policy):
    turns = [turn(name) for name in ("none", "safe_stop", "slow_down")]
    none, stop, slow = answers(policy, ALL_OPEN, turns)
    assert not stop.chunk[:, :6].any()
    assert none.chunk[:, :6].any()
    np.testing.assert_array_equal(stop.chunk[:, 6], none.chunk[:, 6])
    np.testing.assert_allclose(slow.chunk[:, :6], none.chunk[:, :6] / 2)
    arm = arms(np.full(14, 0.5, np.float32))["safe_stop"]
    chunk, rng = np.ones((8, 7), np.float32), np.random.default_rng(0)
    risk = np.full(14, 0.4, np.float32)
    np.testing.assert_array_equal(arm.edit(chunk, risk, turns[1], rng), chunk)
    risk[3] = 0.6
    assert not arm.edit(chunk, risk, turns[1], rng)[:, :6].any()


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (["none", "mits"], [], "unknown intervention 'mits'"),
        (["none", "none"], [], "twice"),
        ([], [], "empty"),
        (["safe_stop"], [], "give --risk_head"),
        (["mist"], ["risk"], "give --steering_vectors"),
        (["random_times"], ["risk", "bank"], "--gate_rate"),
    ],
)
def test_arms_that_cannot_be_run_are_one_clear_line(names, given, message):
    with pytest.raises(UserError, match=message):
        check_arms(names, given)


def acting(name, layer=0, stage: Literal["before", "within", "after"] = "within", **changes):
    head = RiskHead.initial(
        jax.random.key(0), sites={"llm.resid": SMALL.width}, hidden=8, layer=layer
    )
    of = numbers(names=(name,), **changes)
    sites = {"llm.resid": ModelSite(SMALL.layers, SMALL.width, stage=stage)}
    check_acting(build_arms((name,), of), of, head, sites, SMALL.layers)


ONLY_X = np.array([0.5, *[np.inf] * 13], np.float32)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("mist", {"layer": 3}, r"risk is read up to layer 3\): the bank steers layers \[2, 3\]"),
        ("mist_ungated", {"layer": 3}, "layers from 4 on, or train the risk head with a lower"),
        ("random_times", {"layer": -1}, "the bank steers layers"),
        ("random", {"stage": "after"}, "the bank steers layers"),
        ("shrink", {"layer": 3}, "no later layer to act at"),
        ("safe_stop", {"threshold": NEVER}, "never alarms of any motion"),
        ("mist", {"threshold": NEVER}, "never alarms of any motion"),
        ("mist", {"coefficient": 0.0}, "--coefficient=0 pushes nothing"),
        ("random_times", {"rate": 0.0}, "--gate_rate is 0"),
        (
            "mist_ungated",
            {"bank": dataclasses.replace(bank(), gates=np.zeros((14, 14), np.float32))},
            "listens to any motion",
        ),
        (
            "mist",
            {"bank": bank(), "threshold": ONLY_X, "without": 0},
            "listens to a motion that alarms",
        ),
    ],
)
def test_an_arm_that_cannot_act_is_refused_with_its_reason(name, given, message):
    given = dict(given)
    if "without" in given:
        gates = np.array(given["bank"].gates)
        gates[:, given.pop("without")] = 0
        given["bank"] = dataclasses.replace(given["bank"], gates=gates)
    with pytest.raises(UserError, match=message):
        acting(name, **given)


@pytest.mark.parametrize("name", NAMES)
def test_an_arm_that_can_act_is_let_through(name):
    acting(name, layer=2)  # one layer is left
    acting(name, layer=3, stage="before")
    acting(name, threshold=np.ones(14, np.float32))  # silenced on purpose


def test_every_arm_has_words_and_a_colour_of_its_own():
    assert len({row.colour for row in ARMS}) == len({row.what for row in ARMS}) == len(ARMS)


def test_the_unsteered_policy_needs_nothing():
    check_arms(["none"], [])
