"""Every operator: off keeps the bits, shapes alone are static, and each does what it is called."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.errors import UserError
from mist_jax.intervention.action_map.table import TableMap
from mist_jax.intervention.gate import Gate, ThresholdGate
from mist_jax.intervention.intent.given import Given
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.operator import Edited, Operator
from mist_jax.intervention.operators.causal_push import CausalPush
from mist_jax.intervention.operators.conceptor import Conceptor
from mist_jax.intervention.operators.layered_push import LayeredPush
from mist_jax.intervention.operators.project import Project
from mist_jax.intervention.operators.push import Push
from mist_jax.intervention.operators.registry import OPERATORS
from mist_jax.intervention.operators.replace import Replace
from mist_jax.intervention.steering import Steering
from mist_jax.intervention.tokens import role_mask
from mist_jax.policy.forward import forward, run_model
from mist_jax.signed import MOTIONS
from tests.helpers.tiny import TINY, TINY_MODEL, bits, tiny_inputs, tiny_parameters

BATCH, LENGTHS = 3, [5, 12, 8]
LAYERS, WIDTH, DIMS = TINY.layers, TINY.width, len(ACTION_DIMENSIONS)
LAYER = 1


@struct.dataclass
class ClampNorm(Operator):
    """The second operator of this file: no token's activation may be longer than `limit`."""

    limit: Any  # [L]; inf leaves a layer alone
    gate: Gate
    tokens: Any
    site: str = struct.field(pytree_node=False, default="llm.resid")

    @property
    def extent(self):
        return None, len(self.limit), WIDTH

    def layered(self):
        return self.limit

    def edit(self, x, part, opened, alarmed, risk, token_role):
        norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
        return Edited(x * jnp.minimum(1, part / norm), jnp.isfinite(part) & (alarmed > 0))


def gate_of(threshold: float) -> ThresholdGate:
    return ThresholdGate.of(threshold, np.ones((1, MOTIONS)), BATCH)


def make(name: str, strength: np.ndarray, site: str = "llm.resid", seed: int = 0, **gate) -> Any:
    """An operator at `LAYER` that acts on rows as much as `strength` [B] says."""
    rng = np.random.default_rng(seed)
    only = np.eye(LAYERS)[LAYER]
    vectors = rng.normal(size=(1, LAYERS, WIDTH)) * only[None, :, None]
    options = {"gate": gate_of(gate.get("threshold", -np.inf)), "site": site}
    if name == "steering":
        return Steering.of(vectors, strength[:, None], **options)
    if name == "replace":
        return Replace.of(rng.normal(size=(BATCH, LAYERS, WIDTH)), only * strength.max(), **options)
    if name == "project":
        return Project.of(vectors, strength[:, None], **options)
    if name == "push":
        push = rng.normal(size=(BATCH, 1, WIDTH)) * strength[:, None, None]
        return Push.of(push, only, **options)
    if name == "layered_push":
        push = rng.normal(size=(BATCH, LAYERS, 1, WIDTH)) * strength[:, None, None, None]
        return LayeredPush.of(push * only[:, None, None], **options)
    if name == "causal_push":
        table = TableMap.of(rng.normal(size=(BATCH, DIMS, 1, WIDTH)))
        turn = np.eye(DIMS) * strength[:, None, None]
        return CausalPush.of(table, Given.of(rng.normal(size=(BATCH, DIMS))), turn, only, **options)
    if name == "conceptor":
        basis = np.linalg.qr(rng.normal(size=(WIDTH, 3)))[0]
        kept, centre = rng.uniform(size=(1, 1, 3)), rng.normal(size=(1, 1, WIDTH))
        return Conceptor.of(
            basis[None, None], kept, centre, strength[:, None], steered=(LAYER,), layers=LAYERS,
            **options,
        )  # fmt: skip
    limit = np.where(only * strength.max() > 0, 0.5, np.inf)
    return ClampNorm(jnp.asarray(limit), options["gate"], role_mask(("action",)), site)


NAMES = (*OPERATORS, "clamp_norm")
ON, OFF = np.array([1.0, 0.0, 0.5]), np.zeros(BATCH)


@pytest.fixture(scope="module")
def parameters():
    return tiny_parameters()


def run(parameters, *operators, risk_head=None, sites=("llm.resid",), pool="tokens"):
    return forward(
        TINY_MODEL,
        parameters,
        tiny_inputs(LENGTHS),
        Intervention.of(risk_head, *operators),
        sites=sites,
        pool=pool,
    )


def test_every_operator_of_the_registry_is_tried_here():
    assert {type(make(name, ON)) for name in NAMES} == {*OPERATORS.values(), ClampNorm}


@pytest.mark.parametrize("name", NAMES)
def test_an_operator_acts_at_its_layer_and_off_or_closed_keeps_every_bit(name, parameters):
    plain = run(parameters)
    on = run(parameters, make(name, ON))
    before, after = plain.activations["llm.resid"], on.activations["llm.resid"]
    np.testing.assert_array_equal(before[:, :LAYER], after[:, :LAYER])
    assert np.abs(before[0, LAYER] - after[0, LAYER]).max() > 1e-2
    assert on.gate[0, LAYER] > 0
    assert not np.delete(np.asarray(on.gate), LAYER, axis=1).any()
    for quiet in (make(name, OFF), make(name, ON, threshold=np.inf)):
        off = run(parameters, quiet)
        np.testing.assert_array_equal(bits(off.actions), bits(plain.actions))
        np.testing.assert_array_equal(bits(off.activations["llm.resid"]), bits(before))
        assert not off.gate.any()


@pytest.mark.parametrize("name", ["steering", "project", "push", "causal_push", "conceptor"])
def test_a_row_with_nothing_to_do_keeps_its_bits_beside_rows_that_do(name, parameters):
    plain, on = run(parameters), run(parameters, make(name, ON))
    np.testing.assert_array_equal(bits(on.actions[1]), bits(plain.actions[1]))
    assert np.abs(on.actions[2] - plain.actions[2]).max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_arrays_of_an_operator_are_data_and_its_site_is_static(name, parameters):
    compiled: Any = forward
    run(parameters, make(name, ON))
    before = compiled._cache_size()
    for seed in range(3):
        run(parameters, make(name, ON * seed, seed=seed, threshold=0.1 * seed))
    assert compiled._cache_size() == before
    elsewhere = run(parameters, make(name, ON, site="llm.mlp"), sites=("llm.mlp",))
    assert compiled._cache_size() == before + 1
    plain = run(parameters, sites=("llm.mlp",)).activations["llm.mlp"]
    changed = np.abs(elsewhere.activations["llm.mlp"] - plain)
    assert changed[0, LAYER].max() > 1e-3
    assert not changed[:, :LAYER].any()


def test_replace_puts_the_value_there_and_nowhere_else(parameters):
    operator = make("replace", ON)
    after = run(parameters, operator).activations["llm.resid"]
    expected = np.broadcast_to(operator.value[:, LAYER], after[:, LAYER].shape)
    np.testing.assert_array_equal(after[:, LAYER], expected)


def test_patching_the_activations_of_another_run_gives_its_actions(parameters):
    """All tokens of the last layer from another run: what comes after knows nothing else."""
    other = run(parameters, make("steering", ON), pool="mean").activations["llm.resid"]
    patched = Replace.of(other, np.eye(LAYERS)[LAYERS - 1])
    first = run(parameters, patched)
    again = run(parameters, dataclasses.replace(patched, value=jnp.flip(patched.value, 0)))
    np.testing.assert_allclose(first.actions, jnp.flip(again.actions, 0), atol=1e-5)


@pytest.mark.parametrize("role", ["image", "prompt"])
def test_replace_gives_each_token_its_own_value_and_leaves_those_beyond(role, parameters):
    site = f"llm.resid:{role}"
    before = np.asarray(run(parameters, sites=(site,)).activations[site])
    count = before.shape[2] - 2  # the last ones of the role get nothing
    value = np.random.default_rng(0).normal(size=(BATCH, LAYERS, count, WIDTH)).astype(np.float32)
    patch = Replace.of(value, np.eye(LAYERS)[LAYER], site=site)
    after = np.asarray(run(parameters, patch, sites=(site,)).activations[site])
    there = np.abs(before[:, LAYER]).max(-1) > 0  # prompts of different length
    there[:, count:] = False
    expected = np.where(
        there[..., None], np.pad(value[:, LAYER], ((0, 0), (0, 2), (0, 0))), before[:, LAYER]
    )
    np.testing.assert_array_equal(after[:, LAYER], expected)


def test_a_layered_push_is_a_push_at_every_layer(parameters):
    """Of every token its own; two layers at once are two pushes."""
    rng = np.random.default_rng(0)
    push = rng.normal(size=(BATCH, LAYERS, TINY.action_tokens, WIDTH)) * 0.1
    push[:, [0, 2]] = 0
    each = [Push.of(push[:, layer], np.eye(LAYERS)[layer]) for layer in (1, 3)]
    together = run(parameters, LayeredPush.of(push)).activations["llm.resid"]
    np.testing.assert_allclose(together, run(parameters, *each).activations["llm.resid"], atol=1e-5)


def test_project_leaves_the_asked_share_of_the_component(parameters):
    operator = make("project", np.array([1.0, 0.0, 0.25]))
    unit = operator.directions[0, LAYER]
    before, after = (
        np.asarray(run(parameters, *some).activations["llm.resid"][:, LAYER] @ unit)
        for some in ((), (operator,))
    )
    np.testing.assert_allclose(after, before * np.array([0, 1, 0.75])[:, None], atol=1e-5)


def test_clamp_norm_limits_the_norm(parameters):
    after = run(parameters, make("clamp_norm", ON)).activations["llm.resid"][:, LAYER]
    assert np.linalg.norm(after, axis=-1).max() < 0.5 + 1e-5


def test_operators_act_in_the_order_given(parameters):
    push, project = make("steering", ON), make("project", np.ones(BATCH))
    # The projection takes away what was pushed along its direction, or comes too early for it.
    unit = project.directions[0, LAYER]
    last, first = (
        run(parameters, *some).activations["llm.resid"][0, LAYER] @ unit
        for some in ((push, project), (project, push))
    )
    np.testing.assert_allclose(last, 0, atol=1e-4)
    np.testing.assert_allclose(first, push.vectors[0, LAYER] @ unit, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("steering", "coefficient"),
        ("project", "fraction"),
        ("push", "push"),
        ("layered_push", "push"),
        ("causal_push", "transform"),
        ("conceptor", "strength"),
    ],
)
def test_the_gradient_at_zero_is_that_of_finite_differences(name, field, parameters):
    operator, inputs = make(name, np.ones(BATCH)), tiny_inputs(LENGTHS)
    # A push as small as the activations that it meets: the tiny model is strongly curved.
    unit = getattr(operator, field) * (
        0.05 if name in ("steering", "push", "layered_push", "conceptor") else 1.0
    )
    weight = np.random.default_rng(0).normal(size=(BATCH, TINY.chunk, DIMS)).astype(np.float32)

    @jax.jit
    def response(amount):
        made = dataclasses.replace(operator, **{field: amount * unit})
        outputs = run_model(TINY_MODEL, parameters, inputs, Intervention.of(None, made))
        return (outputs.actions * weight).sum()

    step = 2e-3
    measured = float(response(step) - response(-step)) / (2 * step)
    assert abs(measured) > 0.1
    _, forwards = jax.jvp(response, (0.0,), (1.0,))
    backwards = jax.grad(response)(0.0)
    np.testing.assert_allclose([forwards, backwards], measured, rtol=0.05)
    np.testing.assert_allclose(forwards, backwards, rtol=1e-3)


def causal(table=None, change=None, turn=None, **options) -> CausalPush:
    """For two examples, 4 layers of width 8, but for what is given."""
    jacobian = TableMap.of(np.ones((2, 7, 1, 8)) if table is None else table)
    given = Given.of(np.ones((2, 7)) if change is None else change)
    return CausalPush.of(
        jacobian, given, np.ones((2, 7, 7)) if turn is None else turn, np.ones(4), **options
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda: Replace.of(np.ones((1, 4)), np.ones(4)), "replace needs value"),
        (lambda: LayeredPush.of(np.ones((1, 4, 8))), "a layered push must be"),
        (lambda: Replace.of(np.full((1, 4, 8), np.nan), np.ones(4)), "finite"),
        (lambda: Project.of(np.ones((2, 4, 8)), np.ones((1, 3))), "project needs directions"),
        (lambda: Project.of(np.ones((1, 4, 8)), np.full((1, 1), np.inf)), "finite"),
        (lambda: Push.of(np.ones((2, 8)), np.ones(4)), "a push must be"),
        (lambda: Push.of(np.full((2, 1, 8), np.nan), np.ones(4)), "finite"),
        (lambda: causal(turn=np.ones((2, 7))), "transform must be"),
        (lambda: causal(turn=np.ones((2, 6, 6))), "transform must be"),
        (lambda: causal(turn=np.full((2, 7, 7), np.inf)), "finite"),
        (lambda: causal(applied=np.ones(3)), "applied must be"),
        (lambda: causal(table=np.ones((3, 7, 1, 8))), "the map is for 3 examples"),
        (lambda: causal(change=np.ones((1, 7))), "the intent is for 1 examples"),
        (lambda: causal(reads=("elbow",)), "unknown token role"),
    ],
)
def test_malformed_operators_are_refused_in_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        arguments()
    assert "\n" not in str(error.value)
