"""The conceptor operator in the forward, against the matrix that it stands for."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.operators.conceptor import Conceptor
from mist_jax.policy.forward import forward
from mist_jax.steering.conceptors.algebra import conceptor
from tests.helpers.tiny import TINY, TINY_MODEL, tiny_inputs, tiny_parameters

BATCH, LENGTHS = 3, [5, 12, 8]
LAYERS, WIDTH, RANK = TINY.layers, TINY.width, 5
STEERED = (2, 1)  # in the order of the arrays


@pytest.fixture(scope="module")
def parameters():
    return tiny_parameters()


def run(parameters, *operators, pool="tokens"):
    made = Intervention.of(None, *operators)
    return forward(
        TINY_MODEL, parameters, tiny_inputs(LENGTHS), made, sites=("llm.resid",), pool=pool
    )


def made_up(strength, *, steered=STEERED, directions: int = 1, **options) -> Conceptor:
    """Ranks differ; the shorter ones are padded."""
    rng = np.random.default_rng(4)
    shape = (directions, len(steered))
    basis, kept = np.zeros((*shape, WIDTH, RANK)), np.zeros((*shape, RANK))
    for v, layer in np.ndindex(shape):
        soft = conceptor(rng.normal(size=(RANK - v, WIDTH)), 0.5, RANK)
        basis[v, layer, :, : RANK - v], kept[v, layer, : RANK - v] = soft.basis, soft.kept
    centre = rng.normal(size=(*shape, WIDTH))
    strength = np.asarray(strength, float)
    strength = strength[:, None] if strength.ndim == 1 else strength
    return Conceptor.of(
        basis, kept, centre, strength, steered=steered, layers=LAYERS, **options
    )  # fmt: skip


def matrix(operator: Conceptor, direction: int, slot: int) -> np.ndarray:
    basis, kept = np.asarray(operator.basis), np.asarray(operator.kept)
    return basis[direction, slot] @ np.diag(kept[direction, slot]) @ basis[direction, slot].T


def test_each_token_by_itself_is_the_published_soft_projection(parameters):
    """h <- C h around zero, at strength 1, at the first steered layer."""
    operator = dataclasses.replace(made_up(np.ones(BATCH), steered=(1,), pooled=False))
    operator = dataclasses.replace(operator, centre=jnp.zeros_like(operator.centre))
    before, after = (
        np.asarray(run(parameters, *some).activations["llm.resid"][:, 1])
        for some in ((), (operator,))
    )
    np.testing.assert_allclose(after, before @ matrix(operator, 0, 0), atol=1e-5)


def test_pooled_the_mean_is_projected_and_tokens_keep_their_differences(parameters):
    strength = np.array([[0.5, 0.25], [0.0, 0.0], [1.0, 0.0]])
    operator = made_up(strength, steered=(1,), directions=2)
    before, after = (
        np.asarray(run(parameters, *some).activations["llm.resid"][:, 1])
        for some in ((), (operator,))
    )
    mean = before.mean(axis=1)
    expected = mean.copy()
    for v in range(2):
        away = mean - np.asarray(operator.centre)[v, 0]
        drawn = away @ matrix(operator, v, 0) - away
        expected += strength[:, v : v + 1] * drawn
    np.testing.assert_allclose(after.mean(axis=1), expected, atol=1e-5)
    np.testing.assert_allclose(
        after - after.mean(axis=1, keepdims=True), before - mean[:, None], atol=1e-5
    )
    np.testing.assert_array_equal(after[1], before[1])


def test_every_steered_layer_uses_its_own_conceptor(parameters):
    """Drawn to rank 0 around its centre, the pooled activation is the centre."""
    operator = made_up(np.ones(BATCH))
    operator = dataclasses.replace(operator, kept=jnp.zeros_like(operator.kept))
    after = run(parameters, operator, pool="mean").activations["llm.resid"]
    for slot, layer in enumerate(STEERED):
        expected = np.broadcast_to(operator.centre[0, slot], (BATCH, WIDTH))
        np.testing.assert_allclose(after[:, layer], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kept": np.ones((1, 2, RANK + 1))}, "a conceptor needs basis"),
        ({"centre": np.full((1, 2, WIDTH), np.nan)}, "must be finite"),
        ({"steered": (1, 1)}, "as many different ones of 0 to 3"),
        ({"steered": (1, 4)}, "as many different ones of 0 to 3"),
    ],
)
def test_malformed_conceptors_are_refused_in_one_line(change, message):
    arguments = {
        "basis": np.zeros((1, 2, WIDTH, RANK)),
        "kept": np.zeros((1, 2, RANK)),
        "centre": np.zeros((1, 2, WIDTH)),
        "strength": np.zeros((BATCH, 1)),
        "steered": STEERED,
        "layers": LAYERS,
    } | change
    with pytest.raises(UserError, match=message) as error:
        Conceptor.of(**arguments)
    assert "\n" not in str(error.value)
