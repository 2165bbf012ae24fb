"""Learnt arrays are what their digest says, or they are refused; diverged ones are never saved."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from mist_jax.checkpoint import ARRAYS, restore_arrays, save_checkpoint
from mist_jax.errors import UserError
from mist_jax.loading import MIST_NANO_FOLDER, load_policy
from mist_jax.policy.checkpoint import PARAMETERS, read_card, restore_parameters


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """mist-nano with one number of its parameters changed, under its own name and digest."""
    folder = tmp_path_factory.mktemp("changed") / "mist-nano"
    shutil.copytree(MIST_NANO_FOLDER, folder)
    card = read_card(folder)
    parameters = restore_parameters(folder, card)
    leaves, tree = jax.tree.flatten(parameters)
    leaves[3] = leaves[3].at[(0,) * leaves[3].ndim].add(1)
    shutil.rmtree(folder / PARAMETERS)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / PARAMETERS, jax.tree.unflatten(tree, leaves))
    return folder


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16, jnp.float16])
def test_changed_parameters_are_not_loaded_under_the_old_name(changed, dtype):
    with pytest.raises(UserError, match="does not hold the parameters whose digest"):
        load_policy(changed, dtype=dtype)
    load_policy(changed, dtype=dtype, verify=False)  # for those who do not want to wait


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_shipped_parameters_are_verified_in_every_type(dtype):
    verified = load_policy("mist-nano", dtype=dtype).parameters
    plain = load_policy("mist-nano", dtype=dtype, verify=False).parameters
    for one, other in zip(jax.tree.leaves(verified), jax.tree.leaves(plain), strict=True):
        assert one.dtype == other.dtype == dtype
        np.testing.assert_array_equal(one, other)


def test_changed_arrays_of_a_risk_head_or_bank_are_refused(tmp_path):
    folder = tmp_path / "head"
    tree = {"head": {"kernel": np.arange(6, dtype=np.float32), "layer": np.int32(2)}}
    save_checkpoint(folder, tree, {}, "risk head")
    np.testing.assert_array_equal(restore_arrays(folder)["head"]["kernel"], tree["head"]["kernel"])
    shutil.rmtree(folder / ARRAYS)
    tree["head"]["kernel"][1] = 7
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / ARRAYS, tree)
    with pytest.raises(UserError, match="does not hold the arrays of its"):
        restore_arrays(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diverged_head_is_not_saved_and_leaves_the_old_one(tmp_path, value):
    folder = tmp_path / "head"
    good = {"head": {"kernel": np.ones(3, np.float32)}}
    save_checkpoint(folder, good, {"run": 1}, "risk head")
    bad = {"head": {"kernel": np.array([1, value], np.float32)}}
    with pytest.raises(UserError, match="risk head diverged: head/kernel is not finite"):
        save_checkpoint(folder, bad, {"run": 2}, "risk head")
    assert json.loads((folder / "metadata.json").read_text())["run"] == 1
    assert [one.name for one in tmp_path.iterdir()] == ["head"]
