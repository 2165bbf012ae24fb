"""Conceptors as an arm: the dose as measured, refused where that proves nothing."""

import dataclasses

import numpy as np
import pytest

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.evaluation.arms.build import build_arms
from mist_jax.evaluation.learnt_parts import load_learnt_parts
from mist_jax.intervention.operators.conceptor import Conceptor
from mist_jax.signed import DIMENSION
from mist_jax.steering.bank import BankMetadata
from mist_jax.steering.conceptors.checkpoint import save_conceptors
from mist_jax.steering.proof import Proof
from tests.helpers.arm_samples import (
    DANGER,
    EFFECT,
    SIZE,
    answers,
    conceptors,
    numbers_of,
    turn,
)

UNPROVEN = Proof(dataclasses.replace(EFFECT, right=1), 1.0)


def strength(bank, size=SIZE) -> np.ndarray:
    arm = build_arms(("conceptor",), numbers_of(None, conceptors=bank, size=size))["conceptor"]
    found = arm.strength(turn("conceptor"), 0)
    assert found is not None
    return found


def test_the_strength_is_that_which_was_measured_to_move_each_dimension_by_the_size():
    np.testing.assert_allclose(strength(conceptors())[SIZE[DIMENSION] > 0], 0.1, rtol=1e-5)
    assert not strength(conceptors())[SIZE[DIMENSION] == 0].any()
    np.testing.assert_allclose(strength(conceptors(), 2 * SIZE), 2 * strength(conceptors()))
    assert strength(conceptors(), 1e3 * SIZE).max() == 1  # no more than the whole projection


def test_it_does_what_the_operator_by_itself_does_for_the_motions_that_alarm(policy, bank):
    """The oracle is another program: the operator alone, open for these motions from the start."""
    told = answers(policy, numbers_of(bank), ("none", "conceptor"), layer=0)
    alone = conceptors()
    listed = np.array([name in DANGER for name in SIGNED_MOTIONS])
    operator = alone.operator(np.where(listed, strength(alone), 0)[None].repeat(2, 0))
    assert isinstance(operator, Conceptor)
    inputs = [turn("none").inputs] * 2
    expected = policy.predict_inputs(inputs, steering=(operator,)).raw_actions[0]
    np.testing.assert_allclose(told["conceptor"].raw_actions, expected, atol=1e-5)
    assert not np.allclose(expected, told["none"].raw_actions, atol=1e-4)


def test_conceptors_that_are_not_proven_are_refused_unless_asked_for(policy, tmp_path):
    whole = conceptors()
    some = dataclasses.replace(
        whole,
        proofs=tuple(whole.proofs[0] if row == 3 else UNPROVEN for row in range(14)),
        metadata=BankMetadata(layers=whole.metadata.layers, model=policy.identity),
    )
    none = dataclasses.replace(some, proofs=(UNPROVEN,) * 14)
    for name, made in (("some", some), ("none", none)):
        save_conceptors(tmp_path / name, made)
    proven = load_learnt_parts(policy, conceptors=tmp_path / "some").conceptors
    assert proven is not None
    assert proven.names == (SIGNED_MOTIONS[3],)
    np.testing.assert_array_equal(proven.basis, whole.basis[3:4])
    with pytest.raises(UserError, match=r"no direction of .conceptor. is known to act.*unproven"):
        load_learnt_parts(policy, conceptors=tmp_path / "none")
    allowed = load_learnt_parts(policy, conceptors=tmp_path / "none", allow_unproven=True)
    assert allowed.conceptors is not None
    assert len(allowed.conceptors.names) == 14
    assert allowed.conceptors_digest
