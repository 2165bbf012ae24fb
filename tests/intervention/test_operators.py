"""Every operator: off keeps the bits, shapes alone are static, and each does what it is called."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from mist_jax.intervention.operators.min_norm import MinNorm

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.errors import UserError
from mist_jax.intervention.gate import AlwaysOpen, Gate, ThresholdGate
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.operator import Operator
from mist_jax.intervention.operators.project import Project
from mist_jax.intervention.operators.registry import OPERATORS
from mist_jax.intervention.operators.replace import Replace
from mist_jax.intervention.risk_head import RiskHead
from mist_jax.intervention.steering import Steering
from mist_jax.intervention.tokens import role_mask
from mist_jax.policy.forward import forward, run_model
from mist_jax.signed import MOTIONS
from tests.helpers.tiny import TINY, TINY_MODEL, tiny_inputs, tiny_parameters

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

    def edit(self, x, part, opened, alarmed):
        norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
        return x * jnp.minimum(1, part / norm), jnp.isfinite(part) & (alarmed > 0)


def gate_of(name: str, threshold: float) -> ThresholdGate:
    directions = DIMS if name == "min_norm" else 1
    return ThresholdGate.of(threshold, np.ones((directions, MOTIONS)), BATCH)


def make(name: str, strength: np.ndarray, site: str = "llm.resid", seed: int = 0, **gate) -> Any:
    """An operator at `LAYER` that acts on rows as much as `strength` [B] says."""
    rng = np.random.default_rng(seed)
    only = np.eye(LAYERS)[LAYER]
    vectors = rng.normal(size=(1, LAYERS, WIDTH)) * only[None, :, None]
    options = {"gate": gate_of(name, gate.get("threshold", -np.inf)), "site": site}
    if name == "steering":
        return Steering.of(vectors, strength[:, None], **options)
    if name == "replace":
        return Replace.of(rng.normal(size=(BATCH, LAYERS, WIDTH)), only * strength.max(), **options)
    if name == "project":
        return Project.of(vectors, strength[:, None], **options)
    if name == "min_norm":
        jacobian = rng.normal(size=(LAYERS, DIMS, WIDTH))
        wanted = rng.normal(size=(BATCH, DIMS)) * strength[:, None]
        return MinNorm.of(jacobian, wanted, only, **options)
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


def bits(array) -> np.ndarray:
    return np.asarray(array, np.float32).view(np.uint32)


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


@pytest.mark.parametrize("name", ["steering", "project", "min_norm"])
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
    expected = np.broadcast_to(operator.value[:, LAYER, None], after[:, LAYER].shape)
    np.testing.assert_array_equal(after[:, LAYER], expected)


def test_patching_the_activations_of_another_run_gives_its_actions(parameters):
    """All tokens of the last layer from another run: what comes after knows nothing else."""
    other = run(parameters, make("steering", ON), pool="mean").activations["llm.resid"]
    patched = Replace.of(other, np.eye(LAYERS)[LAYERS - 1])
    first = run(parameters, patched)
    again = run(parameters, dataclasses.replace(patched, value=jnp.flip(patched.value, 0)))
    np.testing.assert_allclose(first.actions, jnp.flip(again.actions, 0), atol=1e-5)


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


def action_jacobian(parameters, layer: int) -> np.ndarray:
    """[A, D]: how the first row's mean action changes with a push on its action tokens."""
    vectors = np.zeros((WIDTH, LAYERS, WIDTH), np.float32)
    vectors[:, layer] = np.eye(WIDTH)
    steering = Steering.of(vectors, np.zeros((BATCH, WIDTH)))

    def action(coefficient):
        made = dataclasses.replace(
            steering, coefficient=steering.coefficient.at[0].set(coefficient)
        )
        outputs = run_model(TINY_MODEL, parameters, inputs, Intervention.of(None, made))
        return outputs.actions[0].mean(axis=0)

    inputs = tiny_inputs(LENGTHS)
    return np.asarray(jax.jit(jax.jacrev(action))(jnp.zeros(WIDTH)))


def test_the_least_push_changes_the_action_by_what_is_wanted_and_is_the_least(parameters):
    layer, jacobian = LAYERS - 2, np.zeros((LAYERS, DIMS, WIDTH))
    jacobian[layer] = action_jacobian(parameters, layer)
    wanted = np.zeros((BATCH, DIMS))
    wanted[0, 2] = 0.01
    operator = MinNorm.of(jacobian, wanted, np.eye(LAYERS)[layer], damping=1e-8)
    push = np.asarray(operator.layered()[layer].T @ wanted[0])
    least = np.linalg.pinv(jacobian[layer]) @ wanted[0]
    np.testing.assert_allclose(push, least, rtol=0.02, atol=1e-3 * np.abs(least).max())
    change = run(parameters, operator).actions[0] - run(parameters).actions[0]
    np.testing.assert_allclose(change.mean(axis=0), wanted[0], atol=1e-3)


def test_min_norm_pushes_only_for_the_dimensions_whose_gate_is_open(parameters):
    head = RiskHead.initial(jax.random.key(3), sites={"llm.resid": WIDTH}, hidden=8, layer=0)
    risk = np.asarray(run(parameters, risk_head=head).risk)
    threshold = np.full((BATCH, MOTIONS), 2.0)
    threshold[:, 9] = risk[:, 9] - 0.01  # pitch-
    either_way = np.repeat(np.eye(DIMS), 2, axis=1)
    gate = ThresholdGate.of(threshold, either_way, BATCH)
    operator = dataclasses.replace(make("min_norm", np.ones(BATCH)), gate=gate)
    alone = dataclasses.replace(
        operator, wanted=operator.wanted * np.eye(DIMS)[4], gate=AlwaysOpen()
    )
    gated, expected = run(parameters, operator, risk_head=head), run(parameters, alone)
    np.testing.assert_allclose(gated.actions, expected.actions, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "field"),
    [("steering", "coefficient"), ("project", "fraction"), ("min_norm", "wanted")],
)
def test_the_gradient_at_zero_is_that_of_finite_differences(name, field, parameters):
    operator, inputs = make(name, np.ones(BATCH)), tiny_inputs(LENGTHS)
    # A push as small as the activations that it meets: the tiny model is strongly curved.
    unit = getattr(operator, field) * (0.05 if name == "steering" else 1.0)
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda: Replace.of(np.ones((1, 4)), np.ones(4)), "replace needs value"),
        (lambda: Replace.of(np.full((1, 4, 8), np.nan), np.ones(4)), "finite"),
        (lambda: Project.of(np.ones((2, 4, 8)), np.ones((1, 3))), "project needs directions"),
        (lambda: Project.of(np.ones((1, 4, 8)), np.full((1, 1), np.inf)), "finite"),
        (lambda: MinNorm.of(np.ones((4, 7, 8)), np.ones((1, 6)), np.ones(4)), "min_norm needs"),
        (
            lambda: MinNorm.of(np.ones((4, 7, 8)), np.ones((1, 7)), np.ones(4), damping=0.0),
            "damping must be positive",
        ),
    ],
)
def test_malformed_operators_are_refused_in_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        arguments()
    assert "\n" not in str(error.value)
