"""Conceptors of a dataset: what sets risky states apart is drawn back, what the safe do stays."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.risk.features import Samples, gather_samples
from mist_jax.steering.bank import BankMetadata
from mist_jax.steering.conceptors.algebra import conceptor
from mist_jax.steering.conceptors.bank import ConceptorBank
from mist_jax.steering.conceptors.checkpoint import restore_conceptors, save_conceptors
from mist_jax.steering.conceptors.fit import Conceptors, find_conceptors, turned_conceptors
from mist_jax.steering.extraction import strata
from mist_jax.steering.proof import Proof
from tests.helpers.synthetic_episodes import SITE, study_episodes

WIDTH = 16


def planted(shift: float, seed: int = 0) -> Samples:
    """Before a contact along +x, axis 2 of layer 3 is `shift` away; else, axis 3 is wide."""
    episodes = study_episodes(lambda a, s, rng: rng.random(len(s)) < 0.25, scenes=80, seed=seed)
    samples = gather_samples(episodes, SITE, horizon=8, target="all")
    activation = samples.activation.copy()
    activation[:, 1, 2] += shift * samples.risk[:, 0]
    activation[:, 1, 3] *= np.where(samples.risk[:, 0], 0.1, 6.0)
    return dataclasses.replace(
        samples, sites={SITE: dataclasses.replace(samples.sites[SITE], values=activation)}
    )


@pytest.fixture(scope="module")
def found() -> Conceptors:
    return find_conceptors(planted(4.0), [0, 1], 8, 0)


def matrix(found: Conceptors, v: int, layer: int) -> np.ndarray:
    basis = found.basis[v, layer]
    return basis @ np.diag(found.kept[v, layer]) @ basis.T


def test_the_way_to_risky_states_is_taken_away_and_what_the_safe_do_stays(found):
    assert found.names == ("x+", "x-")
    away = matrix(found, 0, 1)
    assert np.argmin(np.diag(away)) == 2  # where the risky are
    assert np.argmax(np.diag(away)) == 3  # where the safe alone are wide
    assert away[3, 3] > 0.8
    assert found.facts["x+"]["auroc_layer_1"] > 0.8
    assert abs(found.facts["x+"]["auroc_layer_0"] - 0.5) < 0.12
    assert "0 matched risky" in found.absent["yaw-"]


def test_it_is_the_conceptor_of_matched_safe_and_not_risky_states(found):
    """Counted by hand, one weighted row after the other."""
    samples = planted(4.0)
    rows, stratum = samples.activation[:, 1].astype(float), strata(samples)
    safe, risky = samples.valid & ~samples.label.any_risk, samples.valid & samples.risk[:, 0]
    clouds, weights = [], []
    for value in np.unique(stratum):
        here = stratum == value
        if (here & safe).any():
            clouds.append(rows[here & safe])
            weights.append(np.full((here & safe).sum(), (here & risky).sum() / (here & safe).sum()))
    cloud, weight = np.concatenate(clouds), np.concatenate(weights)
    centre = np.average(cloud, axis=0, weights=weight)
    np.testing.assert_allclose(found.centre[0, 1], centre, atol=1e-5)
    scaled = np.sqrt(weight / weight.sum())[:, None] * (cloud - centre)
    spread = np.trace(scaled.T @ scaled) / WIDTH
    matched = risky & np.isin(stratum, stratum[safe])
    other = (rows[matched] - centre) / np.sqrt(matched.sum())
    expected = conceptor(scaled, 1 / np.sqrt(spread), WIDTH, without=other)
    dense = expected.basis @ np.diag(expected.kept) @ expected.basis.T
    np.testing.assert_allclose(matrix(found, 0, 1), dense, atol=1e-5)
    assert found.facts["x+"]["quota"] > 0


def test_what_only_shrinks_says_so():
    """Round clouds leave a conceptor nothing to do but to shrink."""
    facts = find_conceptors(planted(4.0), [0], 8, 0).facts["x+"]
    assert facts["shrinking"] > 0.98
    assert facts["stability"] > 0.95  # which is why stability alone would deceive


def test_a_random_conceptor_keeps_the_eigenvalues_and_turns_the_axes(found):
    control = turned_conceptors(found, seed=0)
    np.testing.assert_array_equal(control.kept, found.kept)
    rank = found.kept.shape[-1]
    for v, layer in np.ndindex(2, 2):
        axes = control.basis[v, layer]
        np.testing.assert_allclose(axes.T @ axes, np.eye(rank), atol=1e-5)
    assert np.abs(matrix(control, 0, 1) - matrix(found, 0, 1)).max() > 0.1


def bank(found: Conceptors) -> ConceptorBank:
    metadata = BankMetadata(layers=(4, 1), model="toy@1", dataset_hash="h")
    short = dataclasses.replace(
        turned_conceptors(found, 0), basis=found.basis[..., :3], kept=found.kept[..., :3]
    )
    return ConceptorBank.join((found, short), 6, metadata, {})


def test_a_bank_gives_the_operator_of_a_method(found):
    whole = bank(found)
    operator = whole.method("conceptor").operator(np.array([[1.0, 0.0]]), threshold=0.5)
    assert operator.extent == (1, 6, WIDTH)
    assert np.asarray(operator.slot).tolist() == [-1, 1, -1, -1, 0, -1]
    np.testing.assert_array_equal(operator.basis, found.basis)
    risk = jnp.zeros((1, 14)).at[0, 1].set(0.9)  # x-
    assert np.asarray(operator.gate.opened(risk)).tolist() == [[0.0, 1.0]]
    with pytest.raises(UserError, match="no 'linear'; it has conceptor, conceptor_random"):
        whole.method("linear")


def test_the_disk_gives_back_the_conceptors(found, tmp_path):
    save_conceptors(tmp_path, bank(found))
    again = restore_conceptors(tmp_path)
    for name in ("basis", "kept", "centre", "gates"):
        np.testing.assert_array_equal(getattr(again, name), getattr(bank(found), name))
    assert again.names == ("x+", "x-") * 2
    assert again.proofs == (Proof(),) * 4
    assert (again.layers, again.metadata.layers) == (6, (4, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["x+"]}, "1 names do not fit 4"),
        ({"names": ["x+", "x-", "x+", "up"]}, "'up' is no direction"),
        ({"layers": [4, 6]}, "do not fit 2 of 6"),
        ({"depth": None}, "NoneType"),
        ({"proofs": []}, "do not fit 4"),
    ],
)
def test_a_damaged_bank_is_refused_in_one_line(found, tmp_path, change, message):
    path = save_conceptors(tmp_path, bank(found)) / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=r"make the \w+ bank again") as refusal:
        restore_conceptors(tmp_path)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
