"""A causal push does to the action what is wanted, tells it, and leaves the rest alone."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.intervention.action_map.noise import NoiseMap
from mist_jax.intervention.action_map.table import TableMap
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.intervention.gate import ThresholdGate
from mist_jax.intervention.intent.against_motion import AgainstMotion
from mist_jax.intervention.intent.given import Given
from mist_jax.intervention.intent.intent import ActionIntent
from mist_jax.intervention.operators.causal_push import CausalPush
from mist_jax.intervention.operators.push import Push
from mist_jax.intervention.steering import Steering
from mist_jax.policy.policy import Policy, Prediction
from tests.helpers.tiny import TINY, bits, tiny_policy, tiny_policy_inputs

BATCH, LAYER, DIMS, WIDTH = 3, 2, 7, TINY.width
ON = np.eye(TINY.layers)[LAYER]
AS_IT_IS = np.broadcast_to(np.eye(DIMS), (BATCH, DIMS, DIMS))
MOTIONS = len(SIGNED_MOTIONS)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny_policy()


@pytest.fixture(scope="module")
def jacobian(policy) -> np.ndarray:
    return policy.jacobian(tiny_policy_inputs(BATCH), layer=LAYER)


@pytest.fixture(scope="module")
def plain(policy) -> Prediction:
    return policy.predict_inputs(tiny_policy_inputs(BATCH))


def changes(steps: list[tuple[int, float]]) -> np.ndarray:
    """[B, A], one dimension and size a row."""
    wanted = np.zeros((BATCH, DIMS), np.float32)
    for row, (dim, size) in enumerate(steps):
        wanted[row, dim] = size
    return wanted


WANTED = changes([(0, 0.01), (2, -0.02), (5, 0.01)])


def realised(prediction: Prediction, plain: Prediction) -> np.ndarray:
    """[B, A] means over the chunk, before clip and sign; the gripper in executed units."""
    raw = (prediction.raw_actions - plain.raw_actions).mean(axis=1)
    return raw * np.array([1] * 6 + [-2])


def steered(policy: Policy, *operators, **options) -> Prediction:
    return policy.predict_inputs(tiny_policy_inputs(BATCH), steering=operators, **options)


def test_the_action_changes_by_what_is_wanted_and_in_no_other_dimension(policy, jacobian, plain):
    operator = CausalPush.of(TableMap.of(jacobian), Given.of(WANTED), AS_IT_IS, ON)
    made = steered(policy, operator)
    np.testing.assert_allclose(realised(made, plain), WANTED, atol=0.05 * 0.02)
    np.testing.assert_allclose(made.wanted, WANTED, atol=1e-7)
    assert made.wanted.dtype == np.float32
    assert (made.gate[:, LAYER] > 0).all()
    assert not np.delete(made.gate, LAYER, axis=1).any()
    np.testing.assert_array_equal(plain.wanted, np.zeros((BATCH, DIMS), np.float32))


def test_no_transform_leaves_alone_and_no_application_only_tells_bit_for_bit(
    policy, jacobian, plain
):
    turn = AS_IT_IS * np.array([1, 0, 1])[:, None, None]
    operator = CausalPush.of(
        TableMap.of(jacobian), Given.of(WANTED), turn, ON, applied=np.array([1, 1, 0])
    )
    made = steered(policy, operator)
    assert np.abs(made.raw_actions[0] - plain.raw_actions[0]).max() > 1e-3
    np.testing.assert_array_equal(bits(made.raw_actions[1:]), bits(plain.raw_actions[1:]))
    np.testing.assert_allclose(made.wanted, WANTED * np.array([[1], [0], [1]]), atol=1e-7)


def test_the_transform_turns_what_is_wanted_before_it_is_pushed(policy, jacobian, plain):
    turn = np.zeros((BATCH, DIMS, DIMS))
    turn[0] = -np.eye(DIMS)
    turn[1, 0, 2] = 1  # z to x
    turn[2] = 0.5 * np.eye(DIMS)
    expected = changes([(0, -0.01), (0, -0.02), (5, 0.005)])
    operator = CausalPush.of(TableMap.of(jacobian), Given.of(WANTED), turn, ON)
    made = steered(policy, operator)
    np.testing.assert_allclose(made.wanted, expected, atol=1e-7)
    np.testing.assert_allclose(realised(made, plain), expected, atol=0.05 * 0.02)


def test_only_what_the_gate_opens_is_wanted(policy, jacobian, plain):
    """One to one: a direction of the gate is a signed motion; risk is read two layers before."""
    head = RiskHead.initial(jax.random.key(3), sites={"llm.resid": WIDTH}, hidden=8, layer=0)
    risk = steered(policy, risk_head=head).signed_risk
    threshold = np.full((BATCH, MOTIONS), 2.0)
    forward, backward = SIGNED_MOTIONS.index("x+"), SIGNED_MOTIONS.index("z-")
    threshold[0, forward] = risk[0, forward] - 0.01
    threshold[1, backward] = risk[1, backward] - 0.01
    gate = ThresholdGate.of(threshold, np.eye(MOTIONS), BATCH)
    intent = AgainstMotion.of(np.full(DIMS, 0.01))
    operator = CausalPush.of(TableMap.of(jacobian), intent, AS_IT_IS, ON, gate=gate)
    made = steered(policy, operator, risk_head=head)
    expected = changes([(0, -0.01), (2, 0.01), (0, 0.0)])
    np.testing.assert_allclose(made.wanted, expected, atol=1e-7)
    np.testing.assert_allclose(realised(made, plain), expected, atol=0.05 * 0.02)
    shut = Given.of(np.ones((BATCH, DIMS)))  # it listens to no risk itself: the operator does
    closed = dataclasses.replace(
        operator, intent=shut, gate=ThresholdGate.of(2.0, np.eye(MOTIONS), BATCH)
    )
    quiet = steered(policy, closed, risk_head=head)
    assert not quiet.wanted.any()
    alone = steered(policy, risk_head=head)
    np.testing.assert_array_equal(bits(quiet.raw_actions), bits(alone.raw_actions))


@struct.dataclass
class Tell(ActionIntent):
    """Wants seven of the features, as they are."""

    pick: Any  # [features, A]

    def wanted(self, features, opened, risk):
        return jnp.einsum("bf,fa->ba", features, self.pick, precision="highest")


def test_intents_look_at_what_the_sites_give(policy, jacobian):
    roles = ("action", "image", "proprio", "prompt", "all")
    sites = ("llm.resid", *(f"llm.resid:{role}" for role in roles[1:]))
    told = steered(policy, sites=sites)
    expected = np.concatenate([told.activations[site][:, LAYER] for site in sites], axis=1)
    for first in (0, WIDTH - 3, 2 * WIDTH, 3 * WIDTH + 5, 5 * WIDTH - DIMS):
        pick = np.zeros((len(roles) * WIDTH, DIMS), np.float32)
        pick[first + np.arange(DIMS), np.arange(DIMS)] = 1
        operator = CausalPush.of(
            TableMap.of(jacobian), Tell(jnp.asarray(pick)), AS_IT_IS, ON, applied=0.0, reads=roles
        )
        heard = steered(policy, operator).wanted
        np.testing.assert_allclose(heard, expected[:, first : first + DIMS], atol=2e-6)


def test_operators_beside_each_other_add_what_they_want_and_push_their_own_rows(
    policy, jacobian, plain
):
    mine, other = np.array([1, 0, 0])[:, None, None], np.array([0, 1, 0])[:, None, None]
    noise = np.random.default_rng(0).normal(size=(BATCH, 1, WIDTH))
    table = TableMap.of(jacobian)
    # One push for all tokens moves as the sum over tokens.
    same = TableMap.of(jacobian.sum(axis=2, keepdims=True))
    made = steered(
        policy,
        Steering.off(batch=BATCH, layers=TINY.layers, width=WIDTH),
        CausalPush.of(table, Given.of(WANTED), AS_IT_IS * mine, ON),
        CausalPush.of(NoiseMap.of(same, noise), Given.of(WANTED), AS_IT_IS * other, ON),
    )
    np.testing.assert_allclose(made.wanted, WANTED * np.array([[1], [1], [0]]), atol=1e-7)
    moved = realised(made, plain)
    np.testing.assert_allclose(moved[0], WANTED[0], atol=0.05 * 0.02)
    dose, wanted = np.linalg.norm(moved[1, :6]), np.linalg.norm(WANTED[1, :6])
    assert dose == pytest.approx(wanted, rel=0.1)
    np.testing.assert_array_equal(bits(made.raw_actions[2]), bits(plain.raw_actions[2]))


@struct.dataclass
class Counted(ActionIntent):
    """Wants nothing, and is seen when it is asked."""

    asked: list[int] = struct.field(pytree_node=False)

    def wanted(self, features, opened, risk):
        jax.debug.callback(lambda: self.asked.append(1))
        return jnp.zeros((BATCH, DIMS))


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside steering"])
def test_its_work_is_done_at_the_layer_that_is_on_and_at_no_other(beside, policy, jacobian):
    counted = Counted(Asked())
    operator = CausalPush.of(TableMap.of(jacobian), counted, AS_IT_IS, ON)
    off = Steering.off(batch=BATCH, layers=TINY.layers, width=WIDTH)
    steered(policy, *((off, operator) if beside else (operator,)))
    jax.effects_barrier()
    assert len(counted.asked) == 1


class Asked(list):
    """Static, as what is compiled for it is."""

    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__


def test_each_token_gets_its_own_push_in_the_order_of_the_sequence(policy):
    """The action tokens of rows whose prompts differ in length stand at different places."""
    sites: Any = {"sites": ("llm.resid", "llm.resid:prompt"), "pool": "tokens"}
    before = steered(policy, **sites).activations
    push = np.random.default_rng(0).normal(size=(BATCH, TINY.action_tokens, WIDTH)).astype("f")
    after = steered(policy, Push.of(push, ON), **sites).activations
    moved = after["llm.resid"][:, LAYER] - before["llm.resid"][:, LAYER]
    np.testing.assert_allclose(moved, push, atol=1e-5)
    np.testing.assert_array_equal(
        after["llm.resid:prompt"][:, LAYER], before["llm.resid:prompt"][:, LAYER]
    )
    few = steered(policy, Push.of(push[:, :5], ON), **sites).activations["llm.resid"]
    moved = few[:, LAYER] - before["llm.resid"][:, LAYER]
    np.testing.assert_allclose(moved[:, :5], push[:, :5], atol=1e-5)
    assert not moved[:, 5:].any()


def test_a_batch_is_its_rows_one_by_one(policy, jacobian):
    operator = CausalPush.of(TableMap.of(jacobian), Given.of(WANTED), AS_IT_IS, ON)
    together = steered(policy, operator)
    row = 2
    alone = CausalPush.of(
        TableMap.of(jacobian[row : row + 1]), Given.of(WANTED[row : row + 1]), AS_IT_IS[:1], ON
    )
    single = policy.predict_inputs(tiny_policy_inputs(BATCH)[row : row + 1], steering=alone)
    np.testing.assert_allclose(single.raw_actions[0], together.raw_actions[row], atol=1e-5)
