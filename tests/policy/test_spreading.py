"""A query spread over two devices says what one device says, and sends little between them."""

import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from mist_jax.benchmark.modes import intervention_of
from mist_jax.errors import UserError
from mist_jax.intervention.operators.push import Push
from mist_jax.loading import load_policy
from mist_jax.policy.forward import action_jacobian, forward
from mist_jax.policy.mesh import policy_mesh
from mist_jax.policy.model import PolicyModelDefaults
from tests.helpers.rollout_samples import save_tiny_policy
from tests.helpers.tiny import TINY, TINY_MODEL, tiny_inputs, tiny_parameters

ROOT = Path(__file__).parents[2]
DEVICES = 2
SITES = ("llm.resid", "llm.mlp:all", "vision.dino", "vision.projector")
EXCHANGE = r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("


def whole(tree):
    """On both devices, whole."""
    here = jax.sharding.NamedSharding(policy_mesh(), jax.sharding.PartitionSpec())
    return jax.device_put(tree, here)


def spread_model():
    return TINY_MODEL.spread_over(policy_mesh())


def parameters(unrolled: bool):
    stored = tiny_parameters()
    return TINY_MODEL.lay_out(stored) if unrolled else stored


def both(run, unrolled: bool):
    """What one device says and what two say; neither compiled into the other's program."""
    alone = run(TINY_MODEL, parameters(unrolled))
    together = run(spread_model(), whole(parameters(unrolled)))
    return alone, together


def says_the_same(lengths, mode, unrolled):
    inputs = tiny_inputs(lengths)
    given = intervention_of(TINY_MODEL, "llm.resid", len(lengths), mode)
    sites = SITES if mode in ("off", "on") else ()
    outputs = both(
        lambda model, held: forward(model, held, inputs, given, sites=sites, pool="tokens"),
        unrolled,
    )
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-5, rtol=1e-4), *outputs)


def has_the_same_jacobian():
    push = Push.of(np.zeros((1, TINY.action_tokens, TINY.width)), np.eye(TINY.layers)[1])
    slopes = both(lambda model, held: action_jacobian(model, held, tiny_inputs([5]), push), False)
    assert np.abs(slopes[0]).max() > 1e-3
    np.testing.assert_allclose(slopes[1], slopes[0], atol=2e-5)


def exchanges(mode) -> list[str]:
    """What the program of one query has its devices exchange."""
    inputs, held = tiny_inputs([5]), whole(parameters(True))
    given = intervention_of(TINY_MODEL, "llm.resid", 1, mode)
    program = forward.lower(spread_model(), held, inputs, given).compile().as_text() or ""
    return re.findall(EXCHANGE, program)


def sends_keys_and_values_alone():
    plain, steered = exchanges("none"), exchanges("causal")
    assert {*plain, *steered} == {"all-gather"}
    beside = 4  # patches, the last block's residual rows and queries, its action rows at the end
    assert 2 * TINY.layers <= len(plain) <= 2 * TINY.layers + beside
    assert len(steered) <= len(plain) + 2  # the layer that is read, the layer that is pushed


def is_loaded_so():
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "policy"
        save_tiny_policy(folder)
        alone = load_policy(folder)
        loaded = load_policy(folder, mesh=policy_mesh(), parallel="tokens")
    leaves = jax.tree.leaves(loaded.parameters)
    assert all(leaf.sharding.is_fully_replicated for leaf in leaves)
    assert {len(leaf.devices()) for leaf in leaves} == {DEVICES}
    ours, theirs = (
        np.asarray(forward(each.model, each.parameters, each.model.example_inputs(1), None).actions)
        for each in (loaded, alone)
    )
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


CHECKS = {
    f"{mode}, {len(lengths)} examples of up to {max(lengths)}, unrolled {unrolled}": partial(
        says_the_same, lengths, mode, unrolled
    )
    for lengths, mode, unrolled in (
        ([5], "causal", True),
        ([5, 13, 8], "on", False),  # of another length; examples do not divide, their images do
    )
} | {
    "it has the same Jacobian": has_the_same_jacobian,
    "it sends keys and values alone": sends_keys_and_values_alone,
    "it is loaded so": is_loaded_so,
}


@pytest.fixture(scope="module")
def faults() -> dict[str, str]:
    """What went wrong in each check, all made in one process that has two devices."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.policy.test_spreading"],
        cwd=ROOT,
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES}",
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("check", CHECKS)
def test_two_devices_answer_one_query_together(check, faults):
    assert faults[check] == ""


def test_an_architecture_that_cannot_spread_a_query_says_so():
    class Elsewhere(PolicyModelDefaults):
        name = "elsewhere"

    with pytest.raises(UserError, match="elsewhere does not spread a query's tokens"):
        Elsewhere().spread_over(policy_mesh())


@pytest.mark.parametrize(
    ("parallel", "message"), [("tokens", "give a mesh"), ("token", "valid ones are tensor, tokens")]
)
def test_a_layout_that_cannot_be_obeyed_is_refused(parallel, message):
    with pytest.raises(UserError, match=message):
        load_policy("mist-nano", parallel=parallel)


def _fault(check) -> str:
    try:
        check()
    except Exception:
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    assert len(jax.devices()) == DEVICES
    print(json.dumps({name: _fault(check) for name, check in CHECKS.items()}))
