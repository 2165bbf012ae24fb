"""Stored as stacks and scanned, or laid out layer by layer and unrolled: one policy."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from jax.sharding import Mesh

from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.operators.push import Push
from mist_jax.intervention.site import Pool
from mist_jax.intervention.steering import Steering
from mist_jax.policy.forward import run_model
from mist_jax.policy.openvla_oft.network.decoder_block import DecoderBlock
from mist_jax.policy.openvla_oft.network.laid_out import matrix_of
from mist_jax.policy.openvla_oft.network.sharding import parameter_sharding
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from mist_jax.policy.run_form import run_form
from tests.helpers.tiny import (
    TINY,
    TINY_MODEL,
    assert_same_of_two_programs,
    tiny_inputs,
    tiny_parameters,
)

BATCH, LENGTHS, LAST = 3, [5, 12, 8], TINY.layers - 1
SITES = ("llm.resid", "llm.attn", "llm.mlp:image", "llm.lens")


@functools.lru_cache
def compiled(model, sites=(), pool: Pool = "mean"):
    return jax.jit(functools.partial(run_model, model, sites=sites, pool=pool))


def run(parameters, intervention=None, sites=(), pool: Pool = "mean", model=TINY_MODEL):
    inputs = tiny_inputs(LENGTHS, model.config)
    return compiled(model, sites, pool)(parameters, inputs, intervention)


def steering(scale=1.0, layers: Any = slice(None), **options) -> Steering:
    vectors = np.zeros((1, TINY.layers, TINY.width), np.float32)
    drawn = np.random.default_rng(1).normal(size=vectors.shape)
    vectors[:, layers] = scale * drawn[:, layers]
    return Steering.of(vectors, np.array([[1.0], [0.0], [-0.5]]), **options)


def assert_close(ours, theirs, within=2e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=within, rtol=within), ours, theirs
    )


@pytest.mark.parametrize(("pool", "sites"), [("mean", SITES), ("tokens", SITES[:-1])])
def test_the_unrolled_form_is_the_scanned_form(pool, sites, stored, unrolled):
    head = RiskHead.initial(
        jax.random.key(3), sites={"llm.resid:image": TINY.width}, hidden=8, layer=1
    )
    steered = Intervention.of(head, steering(threshold=-1.0), memory=head.no_memory(BATCH))
    ours, theirs = (run(form, steered, sites, pool) for form in (unrolled, stored))
    assert_close(ours, theirs)
    assert theirs.gate[0, 2:].all()  # after the layer at which the risk is read


@pytest.mark.parametrize("head", ["diffusion", "tokens"])
def test_it_is_so_for_every_head(head):
    config = dataclasses.replace(TINY, diffusion_steps=2, film=True, action_head=head)
    model = OpenVLAOFTModel(config)
    stored = tiny_parameters(model.config)
    ours, theirs = (run(form, model=model) for form in (model.lay_out(stored), stored))
    assert_close(ours, theirs, 1e-3)  # denoising divides by the square root of a small alpha


@pytest.mark.parametrize("role", ["action", "image"])
def test_zero_steering_keeps_every_bit(role, unrolled):
    plain = run(unrolled)
    for zero in (steering(0.0, tokens=(role,)), steering(threshold=np.inf, tokens=(role,))):
        steered = run(unrolled, Intervention.of(None, zero))
        assert_same_of_two_programs(steered.actions, plain.actions)
        assert not np.any(steered.gate)


def test_whatever_is_tapped_the_action_keeps_its_bits(stored, unrolled):
    """But for the unrolled form's last layer, where other tokens are computed for a tap alone."""
    for form, sites in ((stored, SITES), (unrolled, ("llm.resid", "llm.attn", "llm.lens"))):
        plain, tapped = run(form), run(form, None, sites)
        assert_same_of_two_programs(tapped.actions, plain.actions)
    assert_close(run(unrolled, None, SITES).actions, run(unrolled).actions, 2e-5)


def test_at_the_last_layer_nothing_acts_on_tokens_that_nobody_reads(stored, unrolled):
    everywhere = Intervention.of(None, steering(tokens=("image",)))
    ours, theirs = (run(form, everywhere) for form in (unrolled, stored))
    assert_close(ours.actions, theirs.actions)
    assert_close(ours.gate[:, :LAST], theirs.gate[:, :LAST])
    assert not np.any(ours.gate[:, LAST])
    there = Intervention.of(None, steering(layers=LAST, tokens=("image",)))
    assert_same_of_two_programs(run(unrolled, there).actions, run(unrolled).actions)


@pytest.mark.parametrize("site", ["llm.resid", "llm.attn"])
def test_the_last_layer_counts_a_pushs_tokens_as_all_others_do(site, stored, unrolled):
    """The s-th chosen token gets the s-th push, though the first ones are not computed."""
    rng = np.random.default_rng(0)
    push = rng.normal(size=(BATCH, 40, TINY.width)).astype(np.float32)
    push = Push.of(push, np.eye(TINY.layers)[LAST], tokens=("image", "action"), site=site)
    pushed = Intervention.of(None, push)
    ours, theirs = (run(form, pushed, ("llm.resid",)) for form in (unrolled, stored))
    assert_close((ours.actions, ours.activations), (theirs.actions, theirs.activations))
    assert np.abs(ours.actions - run(unrolled).actions).max() > 1e-2


def test_effects_have_the_same_gradient(stored, unrolled):
    inputs = tiny_inputs(LENGTHS)

    def action(scale, parameters):
        edited = steering()
        edited = dataclasses.replace(edited, vectors=edited.vectors * scale)
        return run_model(
            TINY_MODEL, parameters, inputs, Intervention.of(None, edited)
        ).actions.sum()

    ours, theirs = (jax.jit(jax.grad(action))(0.0, form) for form in (unrolled, stored))
    assert abs(theirs) > 1e-2
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)


def test_blocks_are_traced_once_however_many_there_are(monkeypatch):
    traced = []
    mix = DecoderBlock.mix

    def counted(*arguments, **named):
        traced.append(1)
        return mix(*arguments, **named)

    monkeypatch.setattr(DecoderBlock, "mix", counted)
    counts = []
    for layers in (3, 9):
        model = OpenVLAOFTModel(dataclasses.replace(TINY, layers=layers))
        laid = jax.eval_shape(model.lay_out, model.abstract_parameters())
        jax.eval_shape(functools.partial(run_model, model), laid, tiny_inputs(LENGTHS), None)
        counts.append(len(traced))
        traced.clear()
    assert counts == [2, 2]  # a block, and the last


def test_laying_out_moves_every_number_and_keeps_no_stack_twice(stored):
    own = jax.tree.map(jnp.array, stored)
    laid = run_form(TINY_MODEL, own, unrolled=True)
    blocks = stored["language"]["blocks"]
    for layer in range(TINY.layers):
        for whole, parts in (
            ("qkv_proj", ("q_proj", "k_proj", "v_proj")),
            ("gate_up_proj", ("gate_proj", "up_proj")),
        ):
            joined = laid["language"]["blocks"][whole]["kernel"][layer]
            for place, part in enumerate(parts):
                np.testing.assert_array_equal(joined[:, place], blocks[part]["kernel"][layer])
        moved, down = (matrix_of(form, "down_proj", layer) for form in (laid, stored))
        np.testing.assert_array_equal(moved, down)
    assert sum(leaf.size for leaf in jax.tree.leaves(laid)) == sum(
        leaf.size for leaf in jax.tree.leaves(stored)
    )
    flat: Any = traverse_util.flatten_dict(own, sep="/")
    assert all(v.is_deleted() for k, v in flat.items() if "blocks" in k and k.endswith("/kernel"))
    assert run_form(TINY_MODEL, stored, unrolled=False) is stored


@pytest.mark.parametrize(
    ("path", "shape", "cut"),
    [
        ("language/blocks/qkv_proj/kernel", (32, 3, 32), 2),
        ("language/blocks/qkv_proj/float8", (3, 32, 32), 1),
        ("language/blocks/qkv_proj/scale", (4, 3, 32), 2),
        ("language/blocks/gate_up_proj/kernel", (32, 2, 48), 2),
        ("language/blocks/down_proj/kernel", (48, 32), 0),
        ("language/blocks/down_proj/float8", (32, 48), 1),
        ("language/blocks/down_proj/scale", (4, 32), None),
        ("language/blocks/q_proj/float8", (4, 32, 32), 1),
    ],
)
def test_every_form_is_cut_by_heads_or_by_features(path, shape, cut):
    mesh = Mesh(np.asarray(jax.devices()[:1]), ("model",))
    spec = parameter_sharding(mesh, path, shape).spec
    assert [axis for axis, name in enumerate(spec) if name] == ([] if cut is None else [cut])
