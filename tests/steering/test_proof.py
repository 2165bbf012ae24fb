"""What is called causal moves the action as its name says; all else, and the unmeasured, is not."""

import dataclasses
from functools import partial

import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.intervention.steering import Steering
from mist_jax.steering.measuring import GRIPPER, prove
from mist_jax.steering.proof import NOT_MEASURED, Proof, doses, proven_rows, unproven
from tests.helpers.linear_policy import LAYERS, linear_inputs, linear_policy

NAMES = ("x+", "y-", "z+", "z-", "roll+", "gripper+")


@pytest.fixture(scope="module")
def proofs() -> dict[str, Proof]:
    """Directions of known effect: x+ is right, y- turns the wrong way, z+ talks, z- falls short."""
    policy, readout = linear_policy()
    least = np.linalg.pinv(readout)  # [D, A]: columns move one dimension alone, by one unit
    rows = np.stack(
        [
            -2.0 * least[:, 0],
            -1.0 * least[:, 1],
            -1.0 * least[:, 2] + 0.5 * least[:, 0],
            0.01 * least[:, 2],
            -0.5 * least[:, 3] + 0.1 * least[:, 4],
            -1.0 * least[:, 6],
        ]
    )
    vectors = np.zeros((len(NAMES), LAYERS, rows.shape[1]), np.float32)
    vectors[:, 1] = rows
    operator_of = partial(Steering.of, vectors)
    found = prove(
        policy, NAMES, operator_of, linear_inputs(3), linear_inputs(5, seed=1), batch_size=4
    )
    return dict(zip(NAMES, found, strict=True))


def test_a_direction_that_moves_its_dimension_the_right_way_is_causal_at_its_own_scale(proofs):
    proof = proofs["x+"]
    assert proof.causal
    assert proof.reason == ""
    assert proof.per_unit == pytest.approx(0.5, rel=1e-2)  # the vector moves x by 2
    assert proof.effect.motion == "x-"
    assert (proof.effect.right, proof.effect.count) == (5, 5)
    np.testing.assert_allclose(proof.effect.slope, 1, rtol=1e-2)
    np.testing.assert_allclose(proof.effect.cross_talk, 0, atol=1e-2)
    assert proofs["roll+"].causal  # cross-talk 0.2
    assert proofs["roll+"].per_unit == pytest.approx(2.0, rel=1e-2)


def test_the_wrong_way_is_not_turned_around(proofs):
    assert not proofs["y-"].causal
    assert proofs["y-"].reason == "sign right in 0 of 5 states"


def test_cross_talk_and_too_little_are_no_cause(proofs):
    assert proofs["z+"].reason == "cross-talk 0.50"
    # all that a coefficient of 1 can do at the largest size, 0.3, is 0.01
    assert proofs["z-"].reason == "realised over wanted 0.03"


def test_the_grippers_direction_and_an_unmeasured_one_are_unproven(proofs):
    assert proofs["gripper+"].reason == GRIPPER
    assert Proof().reason == NOT_MEASURED
    assert not Proof().causal


def test_unproven_directions_are_refused_and_a_method_of_nothing_else_whole(proofs):
    named = list(proofs), list(proofs.values())
    assert set(unproven(*named)) == {"y-", "z+", "z-", "gripper+"}
    assert proven_rows("mine", *named) == [0, 4]
    with pytest.raises(UserError, match=r"no direction of 'mine' .* \(y-: .* 0 of 5 states\)") as e:
        proven_rows("mine", named[0][1:3], named[1][1:3])
    assert "\n" not in str(e.value)
    with pytest.raises(UserError, match="not measured"):
        proven_rows("mine", ["x+"], [Proof()])


def test_a_dose_is_what_moves_the_dimension_by_as_much_as_is_asked(proofs):
    size = np.array([0.2, 0, 0, 0.1, 0, 0, 0])
    found = doses(["x+", "roll+", "x-"], [proofs["x+"], proofs["roll+"], Proof()], size)
    np.testing.assert_allclose(found, [0.1, 0.2, 0.0], rtol=1e-2)


def test_a_proof_survives_json_but_its_verdict_is_made_anew(proofs):
    for proof in proofs.values():
        assert Proof.from_dict(proof.to_dict()) == proof
    forged = proofs["z+"].to_dict() | {"causal": True, "reason": ""}
    assert not Proof.from_dict(forged).causal


@pytest.mark.parametrize(
    ("change", "causal"),
    [
        ({}, True),
        ({"right": 9}, True),
        ({"right": 8}, False),
        ({"slope": (0.0, 0.7, 3.0)}, True),
        ({"slope": (0.0, 0.69, 3.0)}, False),
        ({"slope": (0.0, 1.31, 3.0)}, False),
        ({"cross_talk": (0.0, 0.29, 3.0)}, True),
        ({"cross_talk": (0.0, 0.3, 3.0)}, False),
    ],
)
def test_the_bounds_are_those_of_the_definition(proofs, change, causal):
    effect = dataclasses.replace(
        proofs["x+"].effect, count=10, right=10, slope=(1, 1, 1), cross_talk=(0, 0, 0)
    )
    assert Proof(dataclasses.replace(effect, **change), 1.0).causal is causal
