"""Arms: what each does to a query, and that a control is one."""

import dataclasses
from typing import Any, Literal

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mist_jax.errors import UserError
from mist_jax.evaluation.arms.acting import check_acting
from mist_jax.evaluation.arms.beforehand.draws import random_turn
from mist_jax.evaluation.arms.beforehand.replays import Replays
from mist_jax.evaluation.arms.build import build_arms
from mist_jax.evaluation.arms.checks import check_arms
from mist_jax.evaluation.arms.registry import ARMS
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.intervention.site import ModelSite
from mist_jax.policy.forward import forward
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.acting.arm import Unsteered
from mist_jax.rollout.acting.policy_actor import PolicyActor
from mist_jax.steering.proof import Proof
from tests.helpers.arm_samples import (
    NAMES,
    NEVER,
    PLACE,
    SIZE,
    THERE,
    WANTED,
    actor_of,
    answers,
    directions,
    numbers_of,
    turn,
)  # fmt: skip
from tests.helpers.causal_samples import LAYER
from tests.helpers.rollout_samples import SMALL


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.lists(st.floats(-1, 1), min_size=7, max_size=7))
def test_a_turn_keeps_metres_radians_and_the_gripper(seed, change):
    wanted = np.asarray(change, np.float32)
    turned = random_turn(np.random.default_rng(seed)) @ wanted
    for part in (slice(0, 3), slice(3, 6)):
        lengths = np.linalg.norm(turned[part]), np.linalg.norm(wanted[part])
        np.testing.assert_allclose(lengths[0], lengths[1], atol=1e-5)
    assert turned[6] == wanted[6]


def test_turns_point_anywhere_and_never_mirror():
    drawn = np.stack([random_turn(np.random.default_rng(seed)) for seed in range(400)])
    for part in (slice(0, 3), slice(3, 6)):
        block = drawn[:, part, part]
        np.testing.assert_allclose(np.linalg.det(block), 1, atol=1e-4)
        np.testing.assert_allclose(block.mean(axis=0), 0, atol=0.12)
        first = block[:, :, 0]
        np.testing.assert_allclose(first.T @ first / len(first), np.eye(3) / 3, atol=0.06)


@pytest.fixture(scope="module")
def acting(policy, bank):
    """Every arm in one batch, the same inputs in every row, while three motions alarm."""
    return answers(policy, numbers_of(bank))


def test_all_arms_share_one_batch_and_only_those_asked_to_act_do(policy, bank, acting):
    silent = answers(policy, numbers_of(bank, NEVER))
    plain = PolicyActor(policy, len(NAMES), arms={name: Unsteered() for name in NAMES})
    untouched = plain.answer([turn(name) for name in NAMES], [0] * len(NAMES))[0]
    foreknown = ("replayed", "oracle")  # wait for no alarm
    edits = ("safe_stop", "slow_down", "lift", "action_edit", "candidates")
    for name in set(NAMES) - set(foreknown):
        np.testing.assert_array_equal(silent[name].chunk, untouched.chunk)
        np.testing.assert_array_equal(silent[name].raw_actions, untouched.raw_actions)
        assert not silent[name].gate.any()
        assert not silent[name].realised.any()
    for name in set(NAMES) - {"none", *edits}:
        assert acting[name].gate.any(), name
        assert not np.array_equal(acting[name].raw_actions, untouched.raw_actions), name
        assert not acting[name].edited
    for name in ("none", *edits):
        np.testing.assert_array_equal(acting[name].raw_actions, untouched.raw_actions)
        assert not acting[name].gate.any()
        assert acting[name].edited == (name != "none")
    np.testing.assert_array_equal(acting["none"].chunk, untouched.chunk)


def test_what_an_arm_wants_is_what_mist_wants_or_its_control(acting):
    np.testing.assert_allclose(acting["mist"].wanted, WANTED, rtol=1e-5)
    for name in ("mist_linear", "mist_exact", "action_edit", "noise", "permuted"):
        np.testing.assert_array_equal(acting[name].wanted, acting["mist"].wanted, err_msg=name)
    np.testing.assert_array_equal(acting["flipped"].wanted, -acting["mist"].wanted)
    placebo = acting["placebo"].wanted
    for part in (slice(0, 3), slice(3, 6)):
        length = np.linalg.norm(WANTED[part])
        np.testing.assert_allclose(np.linalg.norm(placebo[part]), length, rtol=1e-4)
    assert placebo @ WANTED < 0.99 * WANTED @ WANTED
    np.testing.assert_array_equal(acting["replayed"].wanted, THERE)
    np.testing.assert_allclose(acting["oracle"].wanted, SIZE * [0, 0, 1, 0, 0, 0, 0])
    for name in ("none", "safe_stop", "slow_down", "lift", "shrink", "directions", "conceptor"):
        assert not acting[name].wanted.any(), name


def test_a_brake_takes_the_policys_own_motion_against_the_push_away_and_dose_stays_equal(
    policy, bank, acting
):
    """The oracle reads the activations as a user would, before anything acts."""
    braked = answers(policy, numbers_of(bank, brake=1.0))
    site = bank.metadata.site
    inputs = [turn("none").inputs] * len(NAMES)
    read = policy.predict_inputs(inputs, sites=(site,)).activations[site][0, bank.metadata.layer]
    z = (read - bank.projection.mean) @ bank.projection.basis / bank.projection.scale
    own, expected = np.asarray(bank.own[0] + z @ bank.own[1:]), WANTED.copy()
    for part in (slice(0, 3), slice(3, 6)):
        away = WANTED[part] / np.linalg.norm(WANTED[part])
        expected[part] += max(0.0, -float(own[part] @ away)) * away
    assert not np.allclose(expected, WANTED)
    np.testing.assert_allclose(braked["mist"].wanted, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(braked["flipped"].wanted, -braked["mist"].wanted)
    lengths = [np.linalg.norm(braked[name].wanted[:3]) for name in ("placebo", "mist")]
    np.testing.assert_allclose(*lengths, rtol=1e-4)
    for name in ("none", "replayed", "oracle"):
        np.testing.assert_array_equal(braked[name].chunk, acting[name].chunk)


def test_realised_is_the_executed_chunk_minus_the_unsteered_one(policy, acting):
    """The oracle is another program: the policy asked without any operator."""
    inputs = [turn("none").inputs] * len(NAMES)
    unsteered = policy.predict_inputs(inputs).actions[0]
    for name, answer in acting.items():
        change = (answer.chunk - unsteered).mean(axis=0)
        np.testing.assert_allclose(answer.realised, change, atol=1e-5, err_msg=name)
    assert not acting["none"].realised.any()


def pose_change(told, name: str) -> np.ndarray:
    """Of x to yaw, before the clip, mean over the chunk; the gripper is made binary."""
    return (told[name].raw_actions - told["none"].raw_actions)[:, :6].mean(axis=0)


def test_pushes_by_the_jacobian_change_the_action_as_is_wanted_and_controls_do_not(acting):
    """At a hundredth of an action the first order holds; averaged Jacobians are of other states."""
    wanted = WANTED[:6] / np.linalg.norm(WANTED)
    error = pose_change(acting, "mist_exact") - WANTED[:6]
    assert np.linalg.norm(error) < 0.1 * np.linalg.norm(WANTED)
    along = {name: pose_change(acting, name) @ wanted / np.linalg.norm(WANTED) for name in NAMES}
    assert along["mist"] > 0.3
    assert along["flipped"] < -0.3
    assert abs(along["placebo"]) < 0.9
    assert abs(along["noise"]) < 0.9
    edited = np.clip(acting["none"].chunk + WANTED, -1, 1)
    np.testing.assert_array_equal(acting["action_edit"].chunk, edited)


def test_noise_has_the_dose_of_mist_by_the_same_map(policy, bank):
    """By exact Jacobians: then the map is right, and the doses agree to first order."""
    told = answers(policy, numbers_of(bank, form="exact"), ("none", "noise", "mist"))
    dose = {name: np.linalg.norm(pose_change(told, name)) for name in ("noise", "mist")}
    assert 0.85 < dose["noise"] / dose["mist"] < 1.15
    difference = pose_change(told, "noise") - pose_change(told, "mist")
    assert np.linalg.norm(difference) > 0.3 * dose["mist"]


def test_an_episode_keeps_its_turn_and_its_noise_and_others_have_others(bank):
    made = build_arms(("placebo", "noise"), numbers_of(bank))
    for name, field in (("placebo", "transform"), ("noise", "noise")):

        def drawn(state: int, query: int, name=name, field=field) -> np.ndarray:
            (numbers,) = made[name].pushes(turn(name, state, 8 * query), query).values()
            return getattr(numbers, field)

        np.testing.assert_array_equal(drawn(4, 1), drawn(4, 9))
        assert len({drawn(state, 1).tobytes() for state in range(20)}) == 20


def test_one_trace_serves_every_arm_and_every_number(policy, bank):
    """Also the forward that is asked for what was realised, and Jacobians that come and go."""
    actor = actor_of(policy, numbers_of(bank), batch=4)
    compiled: Any = forward
    actor.answer([turn("none")] * 4, [0] * 4)
    before = compiled._cache_size()
    for name in NAMES:
        for query in (0, 1):
            actor.answer([turn(name)] * 3, [query] * 3)
    actor = actor_of(policy, numbers_of(bank, NEVER, size=2 * SIZE), batch=4)
    actor.answer([turn("mist")] * 4, [0] * 4)
    assert compiled._cache_size() == before


def test_a_jacobian_is_only_asked_for_where_an_arm_needs_that_of_its_own_inputs(
    policy, bank, monkeypatch
):
    asked = []
    whole = type(policy).jacobian

    def counted(self, inputs, **where):
        asked.append(len(inputs))
        return whole(self, inputs, **where)

    monkeypatch.setattr(type(policy), "jacobian", counted)
    actor = actor_of(policy, numbers_of(bank), batch=2)
    slow, fast = actor.answer([turn("mist_exact"), turn("mist")], [0, 0])
    assert asked
    assert slow.latency > fast.latency
    asked.clear()
    actor.answer([turn("mist"), turn("none")], [0, 0])
    assert not asked


def test_brakes_keep_the_gripper_and_scale_the_rest(acting):
    none = acting["none"].chunk
    assert none[:, :6].any()
    assert not acting["safe_stop"].chunk[:, :6].any()
    np.testing.assert_allclose(acting["slow_down"].chunk[:, :6], none[:, :6] / 2)
    lifted = acting["lift"].chunk
    assert (lifted[:, 2] > 0).all()
    assert not np.delete(lifted[:, :6], 2, axis=1).any()
    for name in ("safe_stop", "slow_down", "lift"):
        np.testing.assert_array_equal(acting[name].chunk[:, 6], none[:, 6])
        np.testing.assert_allclose(
            acting[name].realised, (acting[name].chunk - none).mean(axis=0), atol=1e-6
        )


def test_replayed_takes_another_scene_of_the_task_query_by_query():
    keys = [EpisodeKey(*PLACE, state, 0, "mist") for state in range(6)]
    told = {key.initial_state: np.full((3, 7), key.initial_state, "f") for key in keys}
    replays = Replays({PLACE: [(key, told[key.initial_state]) for key in keys]})
    taken = set()
    for state in range(6):
        key = EpisodeKey(*PLACE, state, 0, "replayed")
        first, second, late = (replays.change(key, query) for query in (0, 2, 3))
        np.testing.assert_array_equal(first, second)
        assert first[0] != state
        assert not late.any()
        taken.add(float(first[0]))
    assert len(taken) > 2
    with pytest.raises(
        UserError, match=r"no episode of the arm mist of another scene of .* task 1"
    ):
        replays.check([EpisodeKey(PLACE[0], 1, 0, 0, "replayed")])


def test_an_oracle_acts_at_its_steps_away_along_the_normal_and_knows_its_scenes(policy, bank):
    numbers = numbers_of(bank, NEVER)
    arm = build_arms(("oracle",), numbers)["oracle"]
    assert arm.pushes(turn("oracle", step=8), 1)
    assert not arm.pushes(turn("oracle", step=16), 2)
    with pytest.raises(
        UserError, match="no unsteered episode of libero_spatial task 0, initial st"
    ):
        arm.pushes(turn("oracle", state=3), 1)


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (["none", "mits"], [], "unknown intervention 'mits'"),
        (["none", "none"], [], "twice"),
        ([], [], "empty"),
        (["safe_stop"], [], "give --risk_head"),
        (["mist"], ["risk"], "give --causal_bank"),
        (["directions"], ["risk"], "give --steering_vectors"),
        (["conceptor"], ["risk"], "give --steering_vectors"),
        (["replayed"], ["risk", "causal"], "give --replay_from"),
        (["oracle"], ["risk", "causal"], "give --oracle_from"),
    ],
)
def test_arms_that_cannot_be_run_are_one_clear_line(names, given, message):
    with pytest.raises(UserError, match=message):
        check_arms(names, given)


def check(bank, name, layer=0, stage: Literal["before", "within", "after"] = "within", **changes):
    head = RiskHead.initial(
        jax.random.key(0), sites={"llm.resid": SMALL.width}, hidden=8, layer=layer
    )
    of = numbers_of(bank, **changes)
    sites = {"llm.resid": ModelSite(SMALL.layers, SMALL.width, stage=stage)}
    check_acting(build_arms((name,), of), of, head, sites, SMALL.layers)


ONLY_X = np.array([0.5, *[np.inf] * 13], np.float32)
UNMEASURED = dataclasses.replace(directions(), proofs=(Proof(),) * 14)
DEAF = dataclasses.replace(directions(), gates=np.zeros((14, 14), np.float32))
DEAF_TO_X = dataclasses.replace(directions(), gates=np.eye(14, dtype="f") * (np.arange(14) > 0))


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("mist", {"layer": 3}, r"up to layer 3\): the causal bank pushes at layer 2, before risk"),
        ("placebo", {"layer": -1}, "the causal bank pushes at layer 2, before risk"),
        ("noise", {"stage": "after"}, "the causal bank pushes at layer 2, before risk"),
        ("mist", {"threshold": NEVER}, "never alarms of any motion"),
        ("mist", {"size": 0 * SIZE}, "--coefficient=0 and --rotation_coefficient=0 move nothing"),
        ("mist", {"threshold": ONLY_X, "size": SIZE * (np.arange(7) > 2)}, "no motion that alarms"),
        ("mist", {"size": 0 * SIZE, "intent": "along_normal"}, "--coefficient=0 moves nothing"),
        ("oracle", {"size": 0 * SIZE}, "--coefficient=0 moves nothing"),
        ("candidates", {"size": SIZE * (np.arange(7) > 2)}, "no dimension that the branches tried"),
        ("candidates", {"layer": 3}, "the causal bank pushes at layer 2, before risk"),
        ("shrink", {"layer": 3}, "no later layer to act at"),
        ("safe_stop", {"threshold": NEVER}, "never alarms of any motion"),
        ("directions", {"layer": 3}, r"the bank steers layers \[2, 3\].*layers from 4 on"),
        ("directions", {"size": 0 * SIZE}, "--coefficient=0 and --rotation_coefficient=0 push no"),
        ("directions", {"directions": UNMEASURED}, "has a measured effect; extract them from"),
        ("directions", {"directions": DEAF}, "listens to any motion"),
        (
            "conceptor",
            {"layer": 3},
            r"the bank steers layers \[2, 3\].*conceptors of layers from 4 on",
        ),
        ("conceptor", {"size": 0 * SIZE}, "--coefficient=0 and --rotation_coefficient=0 push no"),
        (
            "directions",
            {"directions": DEAF_TO_X, "threshold": ONLY_X},
            "listens to a motion that alarms: they listen to .*, and what alarms is",
        ),
    ],
)
def test_an_arm_that_cannot_act_is_refused_with_its_reason(bank, name, given, message):
    with pytest.raises(UserError, match=message):
        check(bank, name, **given)


@pytest.mark.parametrize("name", NAMES)
def test_an_arm_that_can_act_is_let_through(bank, name):
    check(bank, name, layer=LAYER - 1)
    check(bank, name, layer=3, stage="before")
    check(bank, name, threshold=np.ones(14, np.float32))  # silenced on purpose


def test_arms_that_wait_for_no_alarm_need_no_risk(bank):
    for name in ("oracle", "replayed"):
        check(bank, name, layer=3, threshold=NEVER)


def test_a_bank_that_no_branches_taught_has_no_permuted_intent(policy, bank):
    plain = dataclasses.replace(bank, intents={})
    with pytest.raises(UserError, match="no intent 'permuted'"):
        actor_of(policy, numbers_of(plain), ("permuted",))


def test_every_arm_has_words_and_a_colour_of_its_own():
    assert len({row.colour for row in ARMS}) == len({row.what for row in ARMS}) == len(ARMS)


def test_the_unsteered_policy_needs_nothing():
    check_arms(["none"], [])
