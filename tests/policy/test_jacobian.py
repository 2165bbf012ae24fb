"""How actions change with a push: exact, per example, in the units that are executed."""

import dataclasses

import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.intervention.operators.push import Push
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from mist_jax.policy.policy import Policy
from tests.helpers.tiny import TINY, tiny_parameters, tiny_policy, tiny_policy_inputs

BATCH, LAYER, DIMS = 3, 2, 7
ON = np.eye(TINY.layers)[LAYER]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny_policy()


def executed(policy: Policy, push: np.ndarray, tokens: tuple[str, ...]) -> np.ndarray:
    """[B, A] means over the chunk, the gripper as it is before it is made binary."""
    operator = Push.of(push, ON, tokens=tokens)
    actions = policy.predict_inputs(tiny_policy_inputs(BATCH), steering=operator).raw_actions
    actions = np.asarray(actions, float)
    actions[..., -1] = -(2 * actions[..., -1] - 1)  # as gripper_for_environment, without the sign
    return actions.mean(axis=1)


@pytest.mark.parametrize(
    ("tokens", "per_token"),
    [(("action",), True), (("action",), False), (("image", "prompt"), True)],
)
def test_it_is_the_finite_difference_of_executed_actions(tokens, per_token, policy):
    jacobian = policy.jacobian(
        tiny_policy_inputs(BATCH), layer=LAYER, tokens=tokens, per_token=per_token
    )
    assert jacobian.dtype == np.float32
    assert jacobian.shape[:2] == (BATCH, DIMS)
    assert (jacobian.shape[2] > 1) == per_token
    # Along the gradient of one dimension, another one in each row: there the slope is largest.
    rows = np.arange(BATCH)
    along = jacobian[rows, [0, 4, 6]]
    size = np.linalg.norm(along, axis=(1, 2), keepdims=True)
    # A step that moves every token by a hundredth at most: the tiny model is strongly curved.
    step = 0.01 if per_token else 0.002
    push = along / size * step
    measured = (executed(policy, push, tokens) - executed(policy, -push, tokens)) / (2 * step)
    expected = np.einsum("basd,bsd->ba", jacobian, along / size)
    largest = np.abs(expected).max(axis=1, keepdims=True)
    np.testing.assert_allclose(measured / largest, expected / largest, atol=0.03)


def test_a_batch_is_its_rows_one_by_one(policy):
    """Prompts of different length; a transpose over a batch was wrong on the CPU with JAX 0.10."""
    inputs = tiny_policy_inputs(BATCH)
    together = policy.jacobian(inputs, layer=LAYER, tokens=("all",))
    for row in range(BATCH):
        alone = policy.jacobian(inputs[row : row + 1], layer=LAYER, tokens=("all",))[0]
        scale = np.abs(alone).max()
        np.testing.assert_allclose(together[row], alone, atol=1e-4 * scale)


def test_one_push_for_all_tokens_moves_as_the_sum_over_tokens(policy):
    inputs = tiny_policy_inputs(BATCH)
    each = policy.jacobian(inputs, layer=LAYER)
    one = policy.jacobian(inputs, layer=LAYER, per_token=False)
    assert each.shape[2] == TINY.action_tokens
    np.testing.assert_allclose(each.sum(axis=2), one[:, :, 0], atol=1e-3 * np.abs(one).max())


@pytest.mark.parametrize("head", ["diffusion", "tokens"])
def test_heads_that_draw_or_choose_are_refused(head):
    config = dataclasses.replace(TINY, action_head=head)
    policy = tiny_policy(OpenVLAOFTModel(config), tiny_parameters(config))
    with pytest.raises(UserError, match="cannot be differentiated") as error:
        policy.jacobian(tiny_policy_inputs(1), layer=0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": TINY.layers}, "has layers 0 to 3, not 4"),
        ({"layer": -1}, "has layers 0 to 3, not -1"),
        ({"layer": 0, "tokens": ("elbow",)}, "unknown token role"),
        ({"layer": 0, "tokens": ()}, "at least one token role"),
        ({"layer": 0, "site": "vision.dino"}, "nothing can steer at vision.dino"),
        ({"layer": 0, "site": "elbow"}, "unknown site"),
    ],
)
def test_what_cannot_be_pushed_is_refused_in_one_line(options, message, policy):
    with pytest.raises(UserError, match=message) as error:
        policy.jacobian(tiny_policy_inputs(1), **options)
    assert "\n" not in str(error.value)
