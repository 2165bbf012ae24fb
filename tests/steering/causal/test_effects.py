"""What is measured of a push is what it does: right, wrong, nothing, or no room to do it."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.intervention.action_map.table import TableMap
from mist_jax.intervention.intent.given import Given
from mist_jax.intervention.operators.causal_push import CausalPush
from mist_jax.steering.causal.effects import (
    POSE_MOTIONS,
    MotionEffect,
    batches,
    executed,
    measure_effects,
    opposite,
)
from tests.helpers.tiny import tiny_policy, tiny_policy_inputs

POLICY = tiny_policy()
INPUTS = tiny_policy_inputs(6)
LAYER = 2
ON = np.arange(4) == LAYER
JACOBIANS = np.concatenate([POLICY.jacobian([one], layer=LAYER) for one in INPUTS])
TURN = np.eye(7)[[1, 0, 2, 3, 4, 5, 6]]  # x for y


def by_jacobian(transform: np.ndarray):
    """Exact least pushes for what `transform` makes of the wanted change."""

    def pushed(rows: np.ndarray, wanted: np.ndarray) -> CausalPush:
        return CausalPush.of(
            TableMap.of(JACOBIANS[rows], damping=1e-6),
            Given.of(wanted),
            np.tile(transform, (len(rows), 1, 1)),
            ON,
        )

    return pushed


def effects_of(transform: np.ndarray, sizes=(0.001, 0.002), **options):
    return measure_effects(
        POLICY, INPUTS, by_jacobian(transform), sizes=sizes, batch_size=8, **options
    )


def test_an_exact_push_is_causal_in_every_motion():
    found = effects_of(np.eye(7))
    assert [one.motion for one in found.motions] == list(POSE_MOTIONS)
    assert found.causal == POSE_MOTIONS
    for one in found.motions:
        assert one.right == one.count > 0
        assert one.slope[1] == pytest.approx(1, abs=0.05)
        assert one.by_size == pytest.approx((1, 1), abs=0.05)
        assert one.cross_talk[1] < 0.2
        assert one.push > 0
        assert one.reason == ""
    assert found.loss < 0.01
    assert found.of("x+").cross_talk[1] < 0.05


def test_a_push_the_other_way_is_told_from_a_right_one():
    found = effects_of(-np.eye(7))
    assert found.causal == ()
    for one in found.motions:
        assert one.right == 0
        assert one.slope[1] == pytest.approx(-1, abs=0.05)
        assert one.reason == f"sign right in 0 of {one.count} states"


def test_a_push_along_another_dimension_is_cross_talk():
    one = effects_of(TURN + np.eye(7) * 1.0, motions=("x+",)).of("x+")
    assert one.slope[1] == pytest.approx(1, abs=0.05)
    assert one.cross_talk[1] == pytest.approx(1, abs=0.1)
    assert one.reason.startswith("cross-talk")


def test_a_push_of_half_the_size_realises_half():
    one = effects_of(0.5 * np.eye(7), motions=("z-",)).of("z-")
    assert one.slope[1] == pytest.approx(0.5, abs=0.05)
    assert one.reason.startswith("realised over wanted 0.5")


def test_nothing_pushed_is_nothing_right():
    one = effects_of(np.zeros((7, 7)), motions=("x+",)).of("x+")
    assert (one.right, one.slope, one.push) == (0, (0, 0, 0), 0)
    assert not one.causal


def test_states_whose_action_is_at_its_bound_are_not_counted_against_a_push():
    high = dataclasses.replace(POLICY, preprocessor=_bounds(low=0.5, high=3.0))
    said, _ = executed(high, INPUTS, 8)
    assert (said[..., :6] == 1).all()  # at the bound throughout: no room upwards

    def nothing(rows: np.ndarray, wanted: np.ndarray) -> CausalPush:
        return by_jacobian(np.zeros((7, 7)))(rows, wanted)

    found = measure_effects(high, INPUTS, nothing, motions=("x+", "x-"), batch_size=8)
    assert found.of("x+").count == 0
    assert found.of("x+").reason == "no state had room for it"
    assert found.of("x-").count == len(INPUTS)


def _bounds(low: float, high: float):
    """The tiny policy's preprocessor with other bounds of the action."""
    before = POLICY.preprocessor
    action = before.statistics.action
    wide = dataclasses.replace(
        action, low=np.full_like(action.low, low), high=np.full_like(action.high, high)
    )
    return dataclasses.replace(
        before, statistics=dataclasses.replace(before.statistics, action=wide)
    )


def test_the_opposite_of_a_motion_is_one():
    assert [opposite(name) for name in ("x+", "x-")] == ["x-", "x+"]
    assert {opposite(name) for name in SIGNED_MOTIONS} == set(SIGNED_MOTIONS)


def test_batches_go_over_every_input_in_one_size():
    rows = list(batches(POLICY, INPUTS, 4))
    assert {len(one) for one in rows} == {4}
    assert sorted(np.unique(np.concatenate(rows)).tolist()) == list(range(6))


@pytest.mark.parametrize(
    ("change", "causal"),
    [
        ({}, True),
        ({"right": 9}, True),
        ({"right": 8}, False),
        ({"slope": (0.6, 0.69, 0.9)}, False),
        ({"slope": (1.2, 1.31, 1.4)}, False),
        ({"cross_talk": (0.1, 0.3, 0.4)}, False),
        ({"count": 0, "right": 0}, False),
    ],
)
def test_causal_is_what_the_definition_says(change, causal):
    one = MotionEffect("x+", 10, 10, (0.9, 1.0, 1.1), (1.0,), (0.0, 0.1, 0.2), 0, 0.1)
    changed = dataclasses.replace(one, **change)
    assert changed.causal is causal
    assert bool(changed.reason) is not causal


def test_effects_do_not_depend_on_the_size_of_the_batch():
    one = effects_of(np.eye(7), motions=("y+",))
    other = measure_effects(
        POLICY, INPUTS, by_jacobian(np.eye(7)), sizes=(0.001, 0.002), motions=("y+",), batch_size=5
    )
    assert jnp.allclose(
        jnp.asarray(one.of("y+").slope), jnp.asarray(other.of("y+").slope), atol=1e-2
    )
