"""Sites: what is read is what is there, a head reads its own, steering acts at its own."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mist_jax
from mist_jax.errors import UserError
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.intervention.intervention import NO_INTERVENTION
from mist_jax.intervention.site import Watch
from mist_jax.intervention.steering import Steering
from mist_jax.intervention.tokens import TOKEN_ROLES
from mist_jax.policy.architectures import PRESETS
from mist_jax.policy.forward import forward, run_model
from mist_jax.policy.openvla_oft.model import bound_model
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from mist_jax.policy.openvla_oft.sequence import layout_of
from tests.helpers.tiny import (
    TINY,
    TINY_MODEL,
    assert_same_of_two_programs,
    intervention,
    tiny_inputs,
    tiny_parameters,
    tiny_policy,
    tiny_policy_inputs,
)
from tests.helpers.toy_reader import risk_of_stored

BATCH, LENGTHS = 3, [5, 12, 8]
EVERY = tuple(TINY_MODEL.sites)
OF_TOKENS = tuple(name for name, site in TINY_MODEL.sites.items() if "tokens" in site.pools)
PLACES = ("llm.resid", "llm.attn", "llm.mlp")


@pytest.fixture(scope="module")
def parameters():
    return tiny_parameters()


def run(parameters, steering=None, risk_head=None, sites=EVERY, pool="mean", model=TINY_MODEL):
    return forward(
        model,
        parameters,
        tiny_inputs(LENGTHS, model.config),
        intervention(steering, risk_head, batch=BATCH, config=model.config),
        sites=sites,
        pool=pool,
    )


@pytest.fixture(scope="module")
def pooled(parameters):
    return run(parameters).activations


@pytest.fixture(scope="module")
def tokens(parameters):
    return run(parameters, sites=OF_TOKENS, pool="tokens").activations


def test_sites_have_the_shapes_that_they_say(pooled, tokens):
    for name, site in TINY_MODEL.sites.items():
        assert pooled[name].shape == (BATCH, site.layers, site.width), name
        assert pooled[name].dtype == jnp.float32
    for name in OF_TOKENS:
        site = TINY_MODEL.sites[name]
        assert tokens[name].shape[:2] == (BATCH, site.layers), name
        assert tokens[name].shape[3] == site.width, name
    assert set(mist_jax.SITES) == set(PRESETS["mist-nano"].sites)
    assert {"llm.resid", "llm.attn", "llm.mlp"} <= set(mist_jax.SITES)


@pytest.mark.parametrize("place", PLACES)
def test_roles_are_the_parts_of_the_whole_sequence_in_order(place, pooled, tokens):
    layout = layout_of(TINY, jnp.asarray(LENGTHS), TINY.prompt_capacity)
    counts = np.asarray(layout.role.sum(1)).astype(int)
    for row in range(BATCH):
        length = int(layout.key_length[row])
        parts = []
        for role, count in zip(TOKEN_ROLES, counts[row], strict=True):
            name = place if role == "action" else f"{place}:{role}"
            part = np.asarray(tokens[name][row])
            assert not part[:, count:].any(), "padding is zero"
            parts.append(part[:, :count])
            np.testing.assert_allclose(pooled[name][row], parts[-1].mean(1), atol=1e-5)
        whole = np.asarray(tokens[f"{place}:all"][row])
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole[:, :length])
        assert not whole[:, length:].any()
        np.testing.assert_allclose(
            pooled[f"{place}:all"][row], whole[:, :length].mean(1), atol=1e-5
        )


def test_a_blocks_output_is_its_input_and_what_its_parts_add(tokens):
    resid, attn, mlp = (np.asarray(tokens[f"{place}:all"]) for place in PLACES)
    np.testing.assert_allclose(resid[:, 1:] - resid[:, :-1], attn[:, 1:] + mlp[:, 1:], atol=1e-5)


def test_vision_sites_are_the_towers_and_the_projector(parameters, pooled, tokens):
    inputs = tiny_inputs(LENGTHS)
    model = bound_model(TINY, parameters)
    fused, _ = model.vision.features(inputs.images, None)
    dino, siglip = np.split(np.asarray(fused), [TINY.dino.width], axis=-1)
    off = 2e-5 if jax.default_backend() == "gpu" else 1e-5  # kernels are chosen anew
    np.testing.assert_allclose(tokens["vision.dino"][:, -1], dino, atol=off)
    np.testing.assert_allclose(tokens["vision.siglip"][:, -1], siglip, atol=off)
    layout = layout_of(TINY, inputs.prompt_length, inputs.token_ids.shape[1])
    embeddings, _ = model.embed(inputs, layout, Watch())
    patches = embeddings[:, 1 : 1 + TINY.images * TINY.patches]
    np.testing.assert_allclose(tokens["vision.projector"][:, 0], patches, atol=1e-5)
    for name in ("vision.dino", "vision.siglip", "vision.projector"):
        np.testing.assert_allclose(pooled[name], tokens[name].mean(2), atol=1e-5)


def test_the_action_heads_last_block_becomes_the_actions(parameters, pooled, tokens):
    head = bound_model(TINY, parameters).action_head
    assert head is not None
    last = tokens["action_head"][:, -1]
    np.testing.assert_allclose(head.fc2(head.norm2(last)), run(parameters).actions, atol=1e-5)
    np.testing.assert_allclose(pooled["action_head"], tokens["action_head"].mean(2), atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"action_head": "diffusion", "diffusion_steps": 2},
        {"action_head": "tokens", "proprio_dim": 0},
        {"film": True},
    ],
)
def test_every_variant_has_the_sites_that_it_says(changes):
    model = OpenVLAOFTModel(dataclasses.replace(TINY, **changes))
    taps = run(tiny_parameters(model.config), sites=tuple(model.sites), model=model).activations
    assert set(taps) == set(model.sites)
    for name, site in model.sites.items():
        assert taps[name].shape == (BATCH, site.layers, site.width), name
    assert ("action_head" in model.sites) == (model.config.action_head != "tokens")
    assert ("llm.resid:proprio" in model.sites) == (model.config.proprio_dim > 0)
    assert ("llm.lens" in model.sites) == (model.config.action_head == "l1")


def test_the_lens_at_the_last_layer_is_the_policys_answer(parameters):
    output = run(parameters)
    lens = np.asarray(output.activations["llm.lens"]).reshape(BATCH, TINY.layers, TINY.chunk, -1)
    np.testing.assert_array_equal(lens[:, -1], output.actions)
    assert np.abs(lens[:, 0] - lens[:, -1]).max() > 1e-3, "earlier layers would say otherwise"


def test_the_lens_is_the_answer_of_a_model_that_ends_there(parameters):
    lens = np.asarray(run(parameters).activations["llm.lens"])
    for layers in (1, 3):
        shorter = OpenVLAOFTModel(dataclasses.replace(TINY, layers=layers))
        cut = dict(parameters, language=dict(parameters["language"]))
        cut["language"]["blocks"] = jax.tree.map(
            lambda leaf, end=layers: leaf[:end], parameters["language"]["blocks"]
        )
        answer = forward(shorter, cut, tiny_inputs(LENGTHS), None).actions
        np.testing.assert_allclose(
            lens[:, layers - 1], answer.reshape(BATCH, -1), atol=1e-5, err_msg=str(layers)
        )


def test_steps_are_the_action_tokens_step_by_step(pooled, tokens):
    each = np.asarray(tokens["llm.resid"])  # [B, L, C*A, D]
    steps = np.asarray(pooled["llm.resid:steps"]).reshape(BATCH, TINY.layers, TINY.chunk, -1)
    for step in range(TINY.chunk):
        mine = each[:, :, step * TINY.action_dim : (step + 1) * TINY.action_dim]
        np.testing.assert_allclose(steps[:, :, step], mine.mean(2), atol=1e-5)


@pytest.mark.parametrize("site", ["llm.lens", "llm.resid:steps"])
def test_what_is_about_steps_has_no_single_tokens_and_is_not_steered(site):
    policy, inputs = tiny_policy(), tiny_policy_inputs(1)
    with pytest.raises(UserError, match="not about single tokens"):
        policy.predict_inputs(inputs, sites=(site,), pool="tokens")
    width = policy.sites[site].width
    push = Steering.of(np.zeros((1, TINY.layers, width)), np.zeros((1, 1)))
    with pytest.raises(UserError, match="nothing can steer at"):
        policy.predict_inputs(inputs, steering=dataclasses.replace(push, site=site))


def test_sites_that_nobody_asks_for_are_not_in_the_program(parameters):
    def program(*arguments, **options):
        inputs = tiny_inputs(LENGTHS)
        traced = jax.make_jaxpr(lambda p, i: run_model(TINY_MODEL, p, i, *arguments, **options))(
            parameters, inputs
        )
        return str(traced)

    assert program(None) == program(NO_INTERVENTION)
    assert len(program(None)) < len(program(None, sites=("vision.dino",)))


@pytest.mark.parametrize(
    "site",
    [
        "llm.resid",
        "llm.attn",
        "llm.mlp",
        "llm.resid:image",
        "llm.attn:prompt",
        "llm.resid:all",
        "llm.resid:steps",
        "llm.lens",
        "vision.dino",
        "vision.siglip",
        "vision.projector",
        "action_head",
    ],
)
def test_a_head_reads_its_site_and_its_layer_and_then_opens(site, parameters, pooled):
    there = TINY_MODEL.sites[site]
    layer = there.layers - 1 if there.stage != "within" else 1
    head = RiskHead.initial(jax.random.key(1), sites={site: there.width}, hidden=8, layer=layer)
    expected = risk_of_stored(head, pooled, tiny_inputs(LENGTHS).proprio)
    plain = run(parameters, risk_head=head)
    np.testing.assert_allclose(plain.risk, expected, atol=1e-5)
    off = dataclasses.replace(head, layer=jnp.asarray(-1))
    assert not run(parameters, risk_head=off).risk.any()
    if there.stage == "after":
        return  # refused with a gate that listens: see test_gate.py
    dimension = 4
    threshold = np.full((BATCH, 14), 2.0)
    threshold[:, dimension] = (
        float(expected[:, dimension].min()) + float(expected[:, dimension].max())
    ) / 2
    steering = Steering.of(
        np.ones((1, TINY.layers, TINY.width)), np.ones((BATCH, 1)), threshold=threshold
    )
    gate = np.asarray(run(parameters, steering, head).gate)
    alarmed = np.asarray(expected[:, dimension] > threshold[:, dimension])
    first = 0 if there.stage == "before" else layer + 1
    assert not gate[:, :first].any()
    np.testing.assert_array_equal((gate[:, first:] > 0).all(1), alarmed)
    assert not gate[~alarmed].any()
    assert alarmed.any()
    assert not alarmed.all()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("role", ["action", "image", "prompt"])
def test_steering_acts_at_its_site_on_its_tokens(place, role, parameters, tokens):
    layer = 2
    vectors = np.zeros((1, TINY.layers, TINY.width))
    vectors[0, layer] = np.random.default_rng(0).normal(size=TINY.width)
    site = place if role == "action" else f"{place}:{role}"
    steering = Steering.of(vectors, np.array([[1.0], [0.0], [0.5]]), site=site)
    assert steering.site == place
    name = f"{place}:all"
    after = run(parameters, steering, sites=EVERY, pool="tokens").activations
    added = np.asarray(after[name][:, layer] - tokens[name][:, layer])
    layout = layout_of(TINY, jnp.asarray(LENGTHS), TINY.prompt_capacity)
    on = np.asarray(layout.role[..., TOKEN_ROLES.index(role)])
    expected = on[..., None] * vectors[0, layer] * np.array([1, 0, 0.5])[:, None, None]
    np.testing.assert_allclose(added, expected, atol=1e-5)
    resid = np.asarray(after["llm.resid:all"] - tokens["llm.resid:all"])
    assert_same_of_two_programs(resid[:, :layer], np.zeros_like(resid[:, :layer]))
    assert np.abs(resid[0, layer]).max() > 0.1, "it enters the residual stream"
    assert_same_of_two_programs(resid[1], np.zeros_like(resid[1]))


def test_a_policy_refuses_sites_that_do_not_fit_in_one_line():
    policy = tiny_policy()
    inputs = tiny_policy_inputs(1)
    vectors = np.ones((1, TINY.dino.blocks, TINY.dino.width))
    refused: list[tuple[dict[str, Any], str]] = [
        ({"sites": ("llm.resid:wrist",)}, "unknown site 'llm.resid:wrist'"),
        ({"pool": "max"}, "pool is 'mean' or 'tokens'"),
        (
            {"steering": Steering.of(vectors, np.ones((1, 1)), site="vision.dino")},
            r"nothing can steer at vision\.dino; choose llm\.resid, llm\.attn, llm\.mlp",
        ),
        (
            {"risk_head": RiskHead.off(sites={"vision.dino": TINY.width})},
            r"the risk head reads width 32, vision\.dino has 16",
        ),
        ({"risk_head": RiskHead.off(sites={"elsewhere": TINY.width})}, "unknown site"),
    ]
    for arguments, message in refused:
        with pytest.raises(UserError, match=message):
            policy.predict_inputs(inputs, **arguments)
    assert policy.sites["vision.dino"].layers == TINY.dino.blocks
