"""Learned pushes against closed forms and finite differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from mist_jax.steering.causal.states import CausalStates
from mist_jax.steering.learned.directions import learned_directions
from mist_jax.steering.learned.learn import LearningConfig, goal_against, learn_push
from mist_jax.steering.learned.objective import CommonPush, mean_action, push_loss
from tests.helpers.linear_policy import LAYERS, SITE, WIDTH, linear_inputs, linear_policy
from tests.helpers.tiny import TINY, tiny_policy, tiny_policy_inputs

NORM = 3.0  # of activations, as if measured


def at_one_layer(layers: int, layer: int = 1) -> np.ndarray:
    return NORM * np.eye(layers, dtype=np.float32)[layer]


@pytest.mark.parametrize("penalty", [0.02, 2.0])
def test_where_the_policy_is_linear_it_is_the_ridge_solution(penalty):
    """min |W p - t|^2 / |t|^2 + penalty |p|^2 / norm^2 in closed form."""
    policy, readout = linear_policy()
    config = LearningConfig(penalty=penalty, steps=300, batch=2)
    goal = goal_against("y+", policy, at_one_layer(LAYERS), SITE, config)
    found = learn_push(policy, linear_inputs(4), goal, config, seed=0)
    wanted = np.zeros(7)
    wanted[1] = -config.size
    weight = config.size**-2
    square = weight * readout.T @ readout + penalty / NORM**2 * np.eye(WIDTH)
    ridge = np.linalg.solve(square, weight * readout.T @ wanted)
    assert found is not None
    push = found.amount * NORM * found.unit[1]
    least = weight * ((readout @ ridge - wanted) ** 2).sum() + penalty * (ridge**2).sum() / NORM**2
    mine = weight * ((readout @ push - wanted) ** 2).sum() + penalty * (push**2).sum() / NORM**2
    assert mine == pytest.approx(least, rel=0.02, abs=2e-4)
    assert found.loss == pytest.approx(least, rel=0.05, abs=2e-3)
    cosine = push @ ridge / np.linalg.norm(push) / np.linalg.norm(ridge)
    assert cosine > 0.995
    assert not found.unit[0].any()  # the layer that is left alone


def test_its_gradient_is_that_of_finite_differences_through_the_whole_policy():
    policy = tiny_policy()
    inputs = policy.model.collate(tiny_policy_inputs(2), None)
    length = np.array([0, 1, 0.5, 0], np.float32)
    goal = goal_against("z-", policy, length, "llm.resid", LearningConfig())
    rng = np.random.default_rng(0)
    push = CommonPush(
        jnp.asarray(rng.normal(size=(TINY.layers, TINY.width)), jnp.float32), jnp.asarray(-2.0)
    )
    alone = mean_action(
        policy.model, policy.parameters, inputs, jnp.zeros_like(push.direction), goal
    )

    @jax.jit
    def loss(push):
        return push_loss(push, policy.model, policy.parameters, inputs, alone, goal)

    gradient = jax.grad(loss)(push)
    for way in (
        CommonPush(jnp.asarray(rng.normal(size=push.direction.shape), jnp.float32), jnp.zeros(())),
        CommonPush(jnp.zeros_like(push.direction), jnp.ones(())),
    ):
        step = 3e-3
        ahead, back = (
            float(loss(jax.tree.map(lambda p, w, s=s: p + s * w, push, way))) for s in (step, -step)
        )
        along = sum(
            float((g * w).sum())
            for g, w in zip(jax.tree.leaves(gradient), jax.tree.leaves(way), strict=True)
        )
        assert (ahead - back) / (2 * step) == pytest.approx(along, rel=0.05)


def states_of(count: int, scenes: int) -> CausalStates:
    scene = np.arange(count) % scenes
    return CausalStates(
        inputs=tuple(linear_inputs(count)),
        instruction=np.full(count, "go"),
        scene=scene,
        key=np.asarray([("made up", 0, s) for s in scene], str),
        step=np.zeros(count, np.int32),
        max_steps=np.ones(count, np.int32),
        raw_actions=np.zeros((count, 2, 7), np.float32),
    )


def test_halves_of_the_scenes_agree_where_one_push_does_it_everywhere():
    policy, readout = linear_policy()
    config = LearningConfig(steps=40, batch=4)
    found = learned_directions(
        policy,
        states_of(8, 4),
        ["x+", "yaw-", "gripper+"],
        np.full(LAYERS, NORM, np.float32),
        SITE,
        config=config,
        seed=0,
    )
    assert found.names == ("x+", "yaw-")
    assert "gripper" in found.absent["gripper+"]
    assert found.unit.shape == (2, LAYERS, WIDTH)
    assert found.facts["x+"]["stability"] > 0.95
    assert (found.unit[0] @ readout[0] < 0).all()  # away from x+
    assert (found.unit[1] @ readout[5] > 0).all()  # away from yaw-


def test_a_policy_without_a_gradient_is_refused():
    config = dataclasses.replace(TINY, action_head="diffusion")
    policy = tiny_policy(OpenVLAOFTModel(config), {})
    with pytest.raises(UserError, match="cannot be differentiated: leave learned out"):
        learned_directions(
            policy, states_of(2, 2), ["x+"], at_one_layer(4), "llm.resid",
            config=LearningConfig(), seed=0,
        )  # fmt: skip
