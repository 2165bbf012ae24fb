"""A bank's vectors, gates and coefficients are what they are called; it survives the disk."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.evaluation.arms.build import build_controller
from mist_jax.evaluation.arms.run_numbers import RunNumbers
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.intervention.gate import ThresholdGate
from mist_jax.intervention.steering import Steering
from mist_jax.intervention.tokens import TOKEN_ROLES
from mist_jax.risk.study.checkpoint import restore_risk_head
from mist_jax.steering.bank import BankMetadata, Directions, SteeringBank
from mist_jax.steering.causal.effects import MotionEffect
from mist_jax.steering.checkpoint import restore_bank, save_bank
from mist_jax.steering.extraction import random_directions
from mist_jax.steering.proof import Proof
from mist_jax.steering.study.figures import draw_bank

METADATA = BankMetadata(layers=(1, 3), model="toy@1", dataset_hash="h")


def bank() -> SteeringBank:
    names = ("x+", "x-", "gripper+")
    contrast = Directions("contrast", names, random_directions(names, 2, 8, seed=1).unit)
    controls = random_directions(names, 2, 8, seed=0)
    return SteeringBank.join([contrast, controls], np.array([2.0, 5.0]), 6, METADATA)


def test_a_coefficient_is_a_fraction_of_the_residual_norm_at_steered_layers_only():
    norms = np.linalg.norm(bank().vectors, axis=-1)
    np.testing.assert_allclose(norms, np.tile([0, 2, 0, 5, 0, 0], (6, 1)), rtol=1e-5)
    np.testing.assert_allclose(bank().residual_norm, [0, 2, 0, 5, 0, 0])


def test_only_its_own_signed_motion_opens_a_directions_gate():
    steering = Steering.of(
        bank().vectors, np.ones((1, 6)), gates=np.asarray(bank().gates), threshold=0.5
    )
    for i, motion in enumerate(SIGNED_MOTIONS):
        risk = jnp.asarray(np.eye(14)[i : i + 1])
        opened = np.asarray(steering.gate.opened(risk))[0]
        assert opened.tolist() == [name == motion for name in bank().names]


def test_a_bank_is_steered_at_the_site_it_was_made_at():
    made = dataclasses.replace(
        bank(), metadata=dataclasses.replace(METADATA, site="llm.attn:image")
    )
    steering = made.steering(np.full((2, 6), 0.3), threshold=0.5)
    assert steering.site == "llm.attn"
    tokens = dict(zip(TOKEN_ROLES, np.asarray(steering.tokens), strict=True))
    assert [role for role, on in tokens.items() if on] == ["image"]
    np.testing.assert_array_equal(steering.vectors, made.vectors)
    assert isinstance(steering.gate, ThresholdGate)
    np.testing.assert_array_equal(steering.gate.listens, made.gates)
    controller = build_controller(
        ["directions"],
        RiskHead.off(sites={"llm.resid": 8}),
        RunNumbers(directions=made),
        sites={},
        batch=1,
    )
    assert controller.site == "llm.attn:image"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ("x+", "x-")}, "2 names do not fit 6 vectors"),
        ({"methods": ("contrast",) * 7}, "7 methods do not fit 6 vectors"),
        ({"names": ("x+", "x-", "gripper+", "x+", "x-", "up")}, "'up' is no direction"),
        ({"methods": ("random",) * 6}, "random has the direction"),
        ({"names": "xyzxyz"}, "no direction"),
        ({"names": None}, "NoneType"),
        ({"layers": [1, 6]}, "not all of the 6"),
        ({"layers": ["1"]}, "layers = "),
        ({"model": None}, "model = None"),
        ({"horizon": "16"}, "horizon = '16'"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"proofs": []}, "0 proofs do not fit 6 vectors"),
        ({"proofs": [{}]}, "effect"),
    ],
)
def test_a_bank_whose_names_methods_or_layers_do_not_fit_its_vectors_is_refused(
    tmp_path, change, message
):
    path = save_bank(tmp_path, bank()) / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=r"make the \w+ bank again") as refusal:
        restore_bank(tmp_path)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("name", "shape"), [("gates", (6, 6)), ("residual_norm", (5,))])
def test_a_bank_whose_arrays_do_not_fit_each_other_is_refused(tmp_path, name, shape):
    save_bank(tmp_path, dataclasses.replace(bank(), **{name: jnp.zeros(shape)}))
    with pytest.raises(UserError, match=f"damaged: {name} are"):
        restore_bank(tmp_path)


def test_one_method_alone():
    alone = bank().method("random")
    assert alone.names == ("x+", "x-", "gripper+")
    assert set(alone.methods) == {"random"}
    np.testing.assert_array_equal(alone.vectors, bank().vectors[3:])
    with pytest.raises(UserError, match="no 'linear' directions; it has contrast, random"):
        bank().method("linear")


def test_random_directions_depend_on_seed_and_name_alone():
    all_of_them = random_directions(SIGNED_MOTIONS, 2, 8, seed=0)
    some = random_directions(("z-",), 2, 8, seed=0)
    np.testing.assert_array_equal(some.unit[0], all_of_them.unit[SIGNED_MOTIONS.index("z-")])
    assert not np.allclose(some.unit, random_directions(("z-",), 2, 8, seed=1).unit)


def test_the_disk_gives_back_the_bank_and_what_it_was_measured_to_do(tmp_path):
    effect = MotionEffect("x-", 9, 10, (0.8, 0.9, 1.0), (0.9,), (0.1, 0.2, 0.3), 0, 0.2)
    proofs = (Proof(effect, 0.5), *bank().proofs[1:])
    assert not any(proof.causal for proof in bank().proofs)  # what was not measured is unproven
    save_bank(tmp_path, dataclasses.replace(bank(), proofs=proofs))
    again = restore_bank(tmp_path)
    np.testing.assert_array_equal(again.vectors, bank().vectors)
    np.testing.assert_array_equal(again.gates, bank().gates)
    assert (again.names, again.methods) == (bank().names, bank().methods)
    assert again.proofs == proofs
    assert again.method("contrast").proofs == proofs[:3]
    assert again.metadata.layers == (1, 3)
    assert again.metadata.code_version
    assert all(path.stat().st_size > 3000 for path in draw_bank(tmp_path / "plots", again))


def test_a_bank_is_no_risk_head(tmp_path):
    path = save_bank(tmp_path, bank())
    with pytest.raises(UserError, match="is a steering bank, not a risk head"):
        restore_risk_head(path)
    with pytest.raises(UserError, match="is not a steering bank"):
        restore_bank(tmp_path / "nothing")


def test_an_empty_bank_is_refused():
    with pytest.raises(UserError, match="too few harmful contacts"):
        SteeringBank.join([], np.ones(2), 6, METADATA)
