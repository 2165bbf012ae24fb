"""The risk head inside the forward's protocol, held against plain numpy in float64."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import expit, logit

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.intervention.forecast.hazard import horizon_logit
from mist_jax.intervention.forecast.risk_head import RiskHead

SITES = {"llm.resid": 6, "vision.dino": 4}
DEPTHS = {"llm.resid": 5, "vision.dino": 2}  # layers of each site in the model
KINDS = ("linear", "perceptron", "recurrent")
MOTIONS, PROPRIO = len(SIGNED_MOTIONS), 3


def a_head(kind: str, *, members: int = 3, remembers: bool = True, seed: int = 0) -> RiskHead:
    """Every array random; layers 3 and 4 of llm.resid and 1 of vision.dino are not read."""
    shape = {"members": members, "proprio": PROPRIO, "hidden": 5}
    head = RiskHead.initial(
        jax.random.key(seed), sites=SITES, layer=2, kind=kind, remembers=remembers, **shape
    )
    rng = np.random.default_rng(seed)
    head = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), head)
    gain = head.gain.at[:, 1:, 6:].set(0.0)  # row 0 has the proprio
    trunk = jax.tree.map(lambda leaf: 0.3 * leaf, head.trunk)  # no certainties
    return replace(head, gain=gain, trunk=trunk, layer=jnp.asarray(2, jnp.int32))


def activations(queries: int, batch: int, seed: int = 1) -> list[dict[str, np.ndarray]]:
    """Per query and site [B, L, D]."""
    rng = np.random.default_rng(seed)
    return [
        {site: rng.normal(size=(batch, DEPTHS[site], SITES[site])) for site in SITES}
        for _ in range(queries)
    ]


def asked(head: RiskHead, seen: dict[str, np.ndarray], proprio: np.ndarray, memory):
    """One query as the forward asks it: every layer, read only where `reads` says so."""
    reading = head.start(len(proprio))
    for site, values in seen.items():
        for layer in range(DEPTHS[site]):
            if head.reads(site, jnp.asarray(layer)):
                x = jnp.asarray(values[:, layer], jnp.float32)
                reading = head.absorb(reading, site, jnp.asarray(layer), x)
    return head.forecast(reading, jnp.asarray(proprio, jnp.float32), memory)


def by_hand(head: RiskHead, queries, proprio: list[np.ndarray]) -> np.ndarray:
    """Risk [Q, B, M] of whole episodes, in float64, written from the definition alone."""
    leaves = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), head)
    batch, risks = len(proprio[0]), []
    for e in range(len(leaves.gain)):
        weights = {name: leaf[e] for name, leaf in leaves.trunk.items()}
        previous, state, member = None, None, []
        for seen, own in zip(queries, proprio, strict=True):
            parts, begin = [], 0
            for site, width in SITES.items():
                gain = leaves.gain[e, :, begin : begin + width]
                layers = min(len(gain), DEPTHS[site])
                parts.append((seen[site][:, :layers] * gain[:layers]).sum(axis=1))
                begin += width
            u = np.concatenate([*parts, own * leaves.gain[e, 0, 10:]], axis=1) - leaves.offset[e]
            x = u
            if head.remembers:
                x = np.concatenate([u, u * 0 if previous is None else u - previous], axis=1)
            previous = u
            if head.kind == "perceptron":
                x = x @ weights["hidden_kernel"] + weights["hidden_bias"]
                x = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
            elif head.kind == "recurrent":
                F = len(weights["candidate_kernel"])
                h = np.zeros((batch, F)) if state is None else state
                drive = x @ weights["input_kernel"] + weights["input_bias"]
                gates = expit(drive[:, : 2 * F] + h @ weights["gate_kernel"])
                r, u_ = gates[:, :F], gates[:, F:]
                new = np.tanh(drive[:, 2 * F :] + (r * h) @ weights["candidate_kernel"])
                x = state = u_ * h + (1 - u_) * new
            hazard = np.einsum("bf,fwm->bwm", x, weights["output_kernel"]) + weights["output_bias"]
            p = 1 - np.prod(1 - expit(hazard), axis=1)
            member.append(expit(leaves.platt_scale[e] * logit(p) + leaves.platt_shift[e]))
        risks.append(member)
    mean = np.clip(np.mean(risks, axis=0), 1e-6, 1 - 1e-6)
    return expit(leaves.ensemble_scale * logit(mean) + leaves.ensemble_shift)


@pytest.mark.parametrize("remembers", [False, True], ids=["forgets", "remembers"])
@pytest.mark.parametrize("kind", KINDS)
def test_episodes_forecast_query_by_query_are_what_the_definition_says(kind, remembers):
    head = a_head(kind, remembers=remembers)
    queries, rng = activations(4, batch=2), np.random.default_rng(5)
    proprio = [rng.normal(size=(2, PROPRIO)) for _ in queries]
    memory, risks = head.no_memory(2), []
    for seen, own in zip(queries, proprio, strict=True):
        risk, memory = asked(head, seen, own, memory)
        risks.append(np.asarray(risk))
    np.testing.assert_allclose(risks, by_hand(head, queries, proprio), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_past_matters_only_to_heads_that_remember(kind):
    queries = activations(2, batch=2)
    own = np.zeros((2, PROPRIO))
    for remembers in (False, True):
        head = a_head(kind, remembers=remembers)
        _, memory = asked(head, queries[0], own, head.no_memory(2))
        later, _ = asked(head, queries[1], own, memory)
        alone, _ = asked(head, queries[1], own, head.no_memory(2))
        same = np.allclose(later, alone, atol=1e-7)
        assert same == (not remembers and kind != "recurrent")


def test_only_layers_with_gain_are_read_and_none_beyond_the_last():
    head = a_head("linear")
    reads = {
        site: [bool(head.reads(site, jnp.asarray(layer))) for layer in range(-1, depth)]
        for site, depth in DEPTHS.items()
    }
    assert reads == {
        "llm.resid": [False, True, True, True, False, False],
        "vision.dino": [False, True, False],
    }
    assert not head.reads("llm.attn", jnp.asarray(0))
    beyond = head.absorb(head.start(1), "llm.resid", jnp.asarray(3), jnp.ones((1, 6)))
    assert not np.any(beyond["llm.resid"])


def test_one_example_does_not_depend_on_the_others_of_its_batch():
    head, own = a_head("recurrent"), np.zeros((3, PROPRIO))
    seen = activations(1, batch=3)[0]
    together, _ = asked(head, seen, own, head.no_memory(3))
    for b in range(3):
        one = {site: values[b : b + 1] for site, values in seen.items()}
        alone, _ = asked(head, one, own[:1], head.no_memory(1))
        np.testing.assert_allclose(together[b], alone[0], atol=1e-6)


def test_an_ensemble_of_one_is_its_member():
    head = a_head("perceptron", members=1)
    plain = replace(
        head,
        ensemble_scale=jnp.ones(MOTIONS), ensemble_shift=jnp.zeros(MOTIONS),
        platt_scale=head.platt_scale * 0.1,
    )  # fmt: skip
    seen, own = activations(1, batch=4)[0], np.zeros((4, PROPRIO))
    risk, _ = asked(plain, seen, own, plain.no_memory(4))
    reading = plain.start(4)
    for site, values in seen.items():
        for layer in range(min(3, DEPTHS[site])):
            x = jnp.asarray(values[:, layer], jnp.float32)
            reading = plain.absorb(reading, site, jnp.asarray(layer), x)
    score, _ = plain.scores(plain.features(reading, jnp.zeros((4, PROPRIO))), plain.no_memory(4))
    member = expit(plain.platt_scale[0] * np.asarray(score)[:, 0] + plain.platt_shift[0])
    np.testing.assert_allclose(risk, member, atol=2e-6)


def test_off_is_zero_risk_and_takes_the_place_of_a_head_without_a_new_trace():
    head = a_head("recurrent")
    shape = {"members": 3, "proprio": PROPRIO, "hidden": 5, "layers": 3}
    off = RiskHead.off(sites=SITES, kind="recurrent", remembers=True, **shape)
    assert jax.tree.structure(off) == jax.tree.structure(head)
    traces = []

    @jax.jit
    def forecast(head, reading, memory):
        traces.append(str(head))
        return head.forecast(reading, jnp.ones((2, PROPRIO)), memory)[0]

    reading = {site: jnp.ones((2, 3, width)) for site, width in SITES.items()}
    assert np.all(forecast(head, reading, head.no_memory(2)) > 0)
    for silent in (off, head.switched_off()):
        assert not np.any(forecast(silent, reading, silent.no_memory(2)))
        assert not any(silent.reads(site, jnp.asarray(0)) for site in SITES)
    assert traces == ["RiskHead(recurrent, sites=llm.resid (6), vision.dino (4))"]


def test_representations_are_short_and_name_what_listens():
    scale = jnp.zeros(MOTIONS).at[1].set(2.0)
    shown = repr(replace(a_head("linear"), ensemble_scale=scale))
    assert shown.endswith("members=3, layer=2, motions=x-)")
    assert len(shown) < 120


@given(hnp.arrays(np.float64, (3, 2), elements=st.floats(-12, 12)))
def test_risk_within_the_horizon_is_that_no_window_stays_free(hazard):
    expected = 1 - np.prod(1 - expit(hazard), axis=0)
    found = expit(np.asarray(horizon_logit(jnp.asarray(hazard, jnp.float32)), np.float64))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_certain_hazards_have_finite_logits():
    assert np.isfinite(horizon_logit(jnp.asarray([[1e9, -1e9], [1e9, -1e9]]))).all()
