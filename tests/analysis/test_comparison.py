"""Two policies compared: what was changed is found, and nothing else."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from mist_jax.analysis.comparison import compare_actions, compare_activations, compare_parameters
from mist_jax.errors import UserError
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from mist_jax.policy.policy import Policy
from mist_jax.record.observation import CAMERAS, Observation
from tests.helpers.tiny import TINY, TINY_MODEL, tiny_parameters, tiny_policy

COUNT = 8


def observations() -> list[Observation]:
    rng = np.random.default_rng(0)
    return [
        Observation(
            eef_pos=rng.normal(size=3),
            eef_quat=np.array([1.0, 0, 0, 0]),
            gripper_qpos=rng.normal(size=2),
            joint_pos=rng.normal(size=7),
            images={name: rng.integers(0, 256, (28, 28, 3), np.uint8) for name in CAMERAS},
        )
        for _ in range(COUNT)
    ]


TEXTS = ["pick up the black bowl on the stove"] * COUNT


def changed(**leaves: Any) -> Policy:
    """The tiny policy with parameters of these paths put through a function each."""
    parameters = tiny_parameters()

    def maybe(path, leaf):
        name = "/".join(str(part.key) for part in path)
        return leaves[name](leaf) if name in leaves else leaf

    return tiny_policy(parameters=jax.tree_util.tree_map_with_path(maybe, parameters))


def test_parameters_that_were_scaled_turned_or_left_are_told_apart():
    other = changed(
        **{
            "vision/projector/fc1/kernel": lambda leaf: 3 * leaf,
            "vision/projector/fc1/bias": lambda leaf: leaf + 1,  # from zero
            "action_head/fc2/kernel": lambda leaf: -leaf,
        }
    )
    found = {one.path: one for one in compare_parameters(tiny_policy(), other)}
    assert len(found) == len(jax.tree.leaves(other.parameters))
    scaled = found.pop("vision/projector/fc1/kernel")
    assert scaled.shape == (32, TINY.projector_width)
    assert (scaled.relative, scaled.cosine) == pytest.approx((2, 1))
    turned = found.pop("action_head/fc2/kernel")
    assert (turned.relative, turned.cosine) == pytest.approx((2, -1))
    grown = found.pop("vision/projector/fc1/bias")
    assert (grown.relative, grown.cosine) == (float("inf"), 0)
    assert {one.relative for one in found.values()} == {0.0}


def test_unrolled_policies_are_compared_stack_by_stack():
    stored = tiny_parameters()
    twice = jax.tree.map(lambda leaf: 2 * leaf, stored)
    pair = (tiny_policy(parameters=TINY_MODEL.lay_out(each)) for each in (stored, twice))
    found = {one.path: one for one in compare_parameters(*pair)}
    joined = found["language/blocks/qkv_proj/kernel"]
    assert joined.shape == (TINY.layers, TINY.width, 3, TINY.width)
    assert joined.relative == pytest.approx(1.0)
    assert joined.cosine == pytest.approx(1.0)


def test_policies_of_other_shapes_are_refused():
    wider = OpenVLAOFTModel(dataclasses.replace(TINY, vocab_size=80))
    other = tiny_policy(wider, tiny_parameters(wider.config))
    with pytest.raises(UserError, match=r"language/embedding is \(64, 32\).*\(80, 32\)"):
        compare_parameters(tiny_policy(), other)
    without = OpenVLAOFTModel(dataclasses.replace(TINY, proprio_dim=0))
    other = tiny_policy(without, tiny_parameters(without.config))
    with pytest.raises(UserError, match="do not both have proprio_projector"):
        compare_parameters(tiny_policy(), other)


def test_a_bias_of_the_head_is_the_difference_of_the_actions_and_of_nothing_before():
    bias = np.linspace(-0.2, 0.2, 7).astype(np.float32)
    other = changed(**{"action_head/fc2/bias": lambda leaf: leaf + bias})
    policy = tiny_policy()
    seen = observations()
    apart = compare_actions(policy, other, seen, TEXTS)
    wanted = bias * policy.preprocessor.executed_slope
    np.testing.assert_allclose(apart, np.broadcast_to(wanted, apart.shape), atol=1e-5)
    sites = ("llm.resid", "vision.dino")
    alike = compare_activations(policy, other, seen, TEXTS, sites=sites)
    for site in sites:
        assert alike[site].shape == (policy.sites[site].layers,) * 2
        np.testing.assert_allclose(np.diag(alike[site]), 1, atol=1e-6)
        np.testing.assert_allclose(alike[site], alike[site].T, atol=1e-6)


def test_another_policy_is_less_alike_than_the_same():
    alike = compare_activations(
        tiny_policy(), tiny_policy(parameters=tiny_parameters(seed=1)), observations(), TEXTS
    )
    assert np.diag(alike["llm.resid"]).max() < 0.99
