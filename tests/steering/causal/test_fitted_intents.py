"""Intents learnt for a bank are in it, and on disk, with what they were learnt from."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from mist_jax.counterfactual.fitting.search import Search
from mist_jax.episodes.dataset_info import DatasetInfo, Site, load_info
from mist_jax.episodes.reader import read_episodes
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from mist_jax.intervention.features import Projection
from mist_jax.steering.causal.bank import CausalBank, CausalMetadata
from mist_jax.steering.causal.checkpoint import restore_causal_bank, save_causal_bank
from mist_jax.steering.causal.intents import fit_intents
from tests.helpers.synthetic_branches import LAYER, READS, branch_episodes, branch_table, offsets

SEARCH = Search(kept=(3, 8), ridges=(10.0, np.inf), main_ridges=(30.0,), harms=("later",), folds=3)
WIDTH = 24  # of one site of the synthetic branches


def bank(model: str = "toy@1") -> CausalBank:
    return CausalBank(
        table=jnp.ones((2, 7, 1, WIDTH)),
        projection=Projection.of(np.zeros(2 * WIDTH), np.ones((2 * WIDTH, 1)), np.ones(1)),
        terms=jnp.ones((2, 7, 1, WIDTH)),
        covariance=jnp.ones((1, 1, WIDTH)),
        own=jnp.ones((2, 7)),
        intents={},
        effects={},
        metadata=CausalMetadata(
            model=model, layer=LAYER, layers=4, chunk=8, instructions=("a",), edges=(),
            damping={"table": 0.1, "linear": 0.1, "exact": 0.1}, per_token=False, reads=READS,
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Branches of obstacles that the activations know, and clean episodes."""
    site, root = Site((1, LAYER), WIDTH), tmp_path_factory.mktemp("data")
    info = DatasetInfo(
        model="toy@1", assets="lite", suites=("libero_spatial",), kind="branches",
        sites={"llm.resid": site, "llm.resid:image": site}, setup={"offsets": offsets()},
    )  # fmt: skip
    oracle = branch_table(forks=60, scenes=30)
    episodes = branch_episodes(oracle)
    clean = next(one for one in episodes if not one.contacts)
    unsteered = dataclasses.replace(clean, key=dataclasses.replace(clean.key, arm="none"))
    for name, some, kind in (
        ("branches", episodes, "branches"),
        ("plain", [unsteered], "collection"),
    ):
        with EpisodeWriter(root / name, dataclasses.replace(info, kind=kind)) as writer:
            for one in some:
                writer.append(one)
    return root / "plain", root / "branches", oracle


def test_branches_give_a_value_of_actions_and_its_placebo(folders, tmp_path):
    plain, branches, oracle = folders
    made, report = fit_intents(bank(), (plain,), branches, SEARCH)
    assert {"action_value", "permuted"} <= set(made.intents)
    assert made.metadata.branches_hash
    assert set(report) == {"chosen", "held out", "toward_expert"}
    assert "--expert_labels" in report["toward_expert"]["absent"]
    save_causal_bank(tmp_path, made)
    again = restore_causal_bank(tmp_path)
    features = jnp.asarray(oracle.table.features)
    opened, risk = jnp.ones((len(features), 1)), jnp.ones((len(features), 14))
    for name, intent in made.intents.items():
        wanted = intent.wanted(features, opened, risk)
        np.testing.assert_array_equal(again.intents[name].wanted(features, opened, risk), wanted)
    value = np.asarray(made.intents["action_value"].wanted(features, opened, risk))
    assert (value != 0).any()


def test_without_contacts_and_branches_the_report_says_what_is_missing(folders):
    made, report = fit_intents(bank(), (folders[0],))
    assert made.intents == {}
    assert "harmful contact" in report["along_normal"]["absent"]


def test_episodes_that_say_what_the_expert_would_do_teach_its_correction(folders, tmp_path):
    plain, branches, _ = folders
    rng, info = np.random.default_rng(0), load_info(plain)
    turn = rng.normal(size=(WIDTH, 3)) / WIDTH
    with EpisodeWriter(tmp_path / "labelled", info) as writer:
        for number, one in enumerate(read_episodes(branches)):
            told = one.queries.activations["llm.resid"][
                :, info.sites["llm.resid"].layers.index(LAYER)
            ]
            own = [one.steps.action[step : step + 8].mean(axis=0) for step in one.queries.step]
            asked = np.repeat(np.stack(own)[:, None], 8, axis=1)
            asked[..., :3] += (told @ turn)[:, None]
            key = dataclasses.replace(one.key, arm="none", initial_state=number)
            queries = dataclasses.replace(one.queries, expert=asked.astype(np.float32))
            writer.append(dataclasses.replace(one, key=key, queries=queries))
    made, report = fit_intents(bank(), (tmp_path / "labelled",))
    found = report["toward_expert"]
    assert found["explained on held-out scenes"] > 0.8
    save_causal_bank(tmp_path, made)
    again = restore_causal_bank(tmp_path).intent("toward_expert", 2, np.full(7, 0.01, np.float32))
    features = jnp.asarray(rng.normal(size=(2, 2 * WIDTH)))
    wanted = np.asarray(again.wanted(features, jnp.ones((2, 1)), jnp.ones((2, 14))))
    np.testing.assert_allclose(np.linalg.norm(wanted, axis=1), 0.01, rtol=1e-3)


def test_another_models_branches_are_refused(folders):
    with pytest.raises(UserError, match="they are of 'toy@1', the causal bank is of 'other@1'"):
        fit_intents(bank("other@1"), (folders[0],), folders[1])
