"""Products in float8: as exact as e4m3 can be, on disk as in memory, and steerable."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mist_jax.errors import UserError
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.steering import Steering
from mist_jax.loading import MIST_NANO_FOLDER, load_policy
from mist_jax.policy.checkpoint import STATISTICS, TOKENIZER, read_card, save_policy
from mist_jax.policy.forward import forward
from mist_jax.policy.openvla_oft.network.float8 import (
    KEPT,
    QUANTISED,
    float8_product,
    quantised,
)
from mist_jax.policy.openvla_oft.network.laid_out import matrix_of
from tests.helpers.tiny import TINY, TINY_MODEL, bits, tiny_inputs

ROUNDING = 2.0**-4  # three bits of mantissa: half a unit in the last place, at most
LENGTHS = [5, 12, 8]


@settings(max_examples=30)
@given(seed=st.integers(0, 2**16), spread=st.floats(0, 4), dtype=st.sampled_from(["f4", "bf16"]))
def test_a_product_is_off_by_no_more_than_its_roundings(seed, spread, dtype):
    kind = jnp.float32 if dtype == "f4" else jnp.bfloat16
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 5, 32)) * 10 ** rng.uniform(-spread, spread, (2, 5, 1))
    w = rng.normal(size=(3, 16, 32)) * 10 ** rng.uniform(-spread, spread, (3, 16, 1))
    x = np.asarray(jnp.asarray(x, kind), float)
    ours = float8_product(jnp.asarray(x, kind), *quantised(jnp.asarray(w)))
    assert ours.dtype == kind
    exact = np.einsum("btk,snk->btsn", x, w)
    # Values below the smallest normal number of e4m3, 2^-6 where the largest is 448, are off by
    # half the smallest step, 2^-10.
    tiny = [np.abs(v).max(-1, keepdims=True) / 448 * 2.0**-10 for v in (x, w)]
    off = [ROUNDING * np.abs(v) + least for v, least in zip((x, w), tiny, strict=True)]
    bound = np.einsum("btk,snk->btsn", off[0], np.abs(w) + off[1]) + np.einsum(
        "btk,snk->btsn", np.abs(x), off[1]
    )
    last = 2.0**-7 if dtype == "bf16" else 1e-5
    assert (np.abs(np.asarray(ours, float) - exact) <= bound + last * (np.abs(exact) + bound)).all()


def test_a_row_of_zeros_stays_zero():
    codes, scale = quantised(jnp.zeros((4, 8)))
    assert not np.any(float8_product(jnp.zeros((1, 8)), codes, scale))
    assert np.isfinite(scale).all()


def test_its_gradient_is_the_quantised_weights():
    rng = np.random.default_rng(0)
    codes, scale = quantised(jnp.asarray(rng.normal(size=(3, 16, 32)), jnp.float32))
    x = jnp.asarray(rng.normal(size=(5, 32)), jnp.float32)
    slope = rng.normal(size=(5, 3, 16))
    ours = jax.grad(lambda x: (float8_product(x, codes, scale) * slope).sum())(x)
    weights = np.asarray(codes, float) * np.asarray(scale, float)[..., None]
    np.testing.assert_allclose(ours, np.einsum("tsn,snk->tk", slope, weights), rtol=1e-4)


def test_what_is_quantised_is_all_large_products_but_the_first_blocks_and_nothing_else(stored):
    made = TINY_MODEL.quantise(stored)
    kinds = {
        "/".join(str(key.key) for key in path): leaf.dtype
        for path, leaf in jax.tree_util.tree_flatten_with_path(made)[0]
    }
    codes = [path for path, kind in kinds.items() if kind == jnp.float8_e4m3fn]
    assert len(codes) == 7
    assert all(QUANTISED.search(path.replace("float8", "kernel")) for path in codes)
    rest = {kind for path, kind in kinds.items() if not path.endswith(("float8", "scale"))}
    assert rest == {jnp.dtype(jnp.bfloat16)}
    blocks = stored["language"]["blocks"]
    for layer, down in enumerate(blocks["down_proj"]["kernel"]):
        kept, column = matrix_of(made, "down_proj", layer), np.abs(down)
        if layer < KEPT:
            np.testing.assert_array_equal(kept, down.astype(jnp.bfloat16).astype(np.float32))
        else:
            bound = ROUNDING * column + column.max(0) / 448 * 2.0**-10
            assert (np.abs(kept - down) <= bound).all()
    norms = [made["language"][part]["input_norm"]["weight"] for part in ("beginning", "blocks")]
    np.testing.assert_array_equal(
        np.concatenate(norms), blocks["input_norm"]["weight"].astype(jnp.bfloat16)
    )


@pytest.mark.parametrize("unrolled", [False, True])
def test_layers_keep_their_numbers_over_both_stacks(stored, unrolled):
    """What is read and pushed at a layer is the same layer's as in float32."""
    made = TINY_MODEL.quantise(stored)
    made = TINY_MODEL.lay_out(made) if unrolled else made
    inputs, sites = tiny_inputs(LENGTHS), ("llm.resid",)
    plain = forward(TINY_MODEL, stored, inputs, None, sites=sites).activations["llm.resid"]
    coarse = forward(TINY_MODEL, made, inputs, None, sites=sites).activations["llm.resid"]
    assert coarse.shape == plain.shape
    for layer in range(TINY.layers):
        off = np.linalg.norm(coarse - plain[:, layer, None], axis=-1).mean(axis=0)
        assert off.argmin() == layer
    for layer in range(TINY.layers):
        vectors = np.zeros((1, TINY.layers, TINY.width), np.float32)
        vectors[0, layer] = 1.0
        steering = Intervention.of(None, Steering.of(vectors, np.ones((3, 1))))
        pushed = forward(TINY_MODEL, made, inputs, steering, sites=sites).activations["llm.resid"]
        moved = np.abs(pushed - coarse).max(axis=(0, 2)) > 0.1
        np.testing.assert_array_equal(moved, np.arange(TINY.layers) >= layer)


def test_attention_and_value_vectors_are_of_the_layer_that_is_asked_for(stored):
    made, layers = TINY_MODEL.quantise(stored), tuple(range(TINY.layers))

    def asked(parameters):
        inputs = tiny_inputs(LENGTHS)
        weights, _ = TINY_MODEL.attention_weights(parameters, inputs, None, layers)
        return TINY_MODEL.value_vectors(parameters, layers), jnp.moveaxis(weights, 1, 0)

    for coarse, plain in zip(asked(made), asked(stored), strict=True):
        for layer in layers:
            off = [float(jnp.abs(coarse[layer] - other).mean()) for other in plain]
            assert np.argmin(off) == layer


def test_zero_steering_keeps_every_bit_in_both_forms(stored):
    scanned = TINY_MODEL.quantise(stored)
    unrolled = TINY_MODEL.lay_out(scanned)
    inputs = tiny_inputs(LENGTHS)
    for form in (scanned, unrolled):
        plain = forward(TINY_MODEL, form, inputs, None).actions
        zero = Steering.off(batch=3, layers=TINY.layers, width=TINY.width)
        steered = forward(TINY_MODEL, form, inputs, Intervention.of(None, zero)).actions
        np.testing.assert_array_equal(bits(steered), bits(plain))
        assert plain.dtype == jnp.float32


@pytest.fixture(scope="module")
def folder(tmp_path_factory, stored):
    """A policy that was saved in float8."""
    folder = tmp_path_factory.mktemp("float8") / "policy"
    save_policy(
        folder,
        name="tiny",
        model=TINY_MODEL,
        parameters=TINY_MODEL.quantise(stored),
        statistics=json.loads((MIST_NANO_FOLDER / STATISTICS).read_text()),
        tokenizer=MIST_NANO_FOLDER / TOKENIZER,
        provenance={},
    )
    return folder


def test_it_comes_back_from_disk_as_it_was(folder, stored):
    assert read_card(folder).dtype == "float8"
    back = load_policy(folder, unrolled=False).parameters
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(
            np.asarray(a).view(np.uint8), np.asarray(b).view(np.uint8)
        ),
        back,
        TINY_MODEL.quantise(stored),
    )


def test_float8_weights_cannot_be_had_finer(folder):
    with pytest.raises(UserError, match="holds float8 weights") as error:
        load_policy(folder, dtype=jnp.float32)
    assert "\n" not in str(error.value)
