"""From a folder of branches to intents that a policy is steered by."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mist_jax.counterfactual.fitting.learn import learn_intents, read_branches, report
from mist_jax.counterfactual.fitting.normal import normals_of_branches
from mist_jax.counterfactual.fitting.search import Search
from mist_jax.episodes.dataset_info import DatasetInfo, DatasetKind, Site
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from mist_jax.intervention.action_map.table import TableMap
from mist_jax.intervention.operators.causal_push import CausalPush
from tests.helpers.synthetic_branches import LAYER, READS, branch_episodes, branch_table, offsets
from tests.helpers.tiny import TINY, tiny_policy, tiny_policy_inputs

SEARCH = Search(kept=(3, 8), ridges=(10.0, np.inf), main_ridges=(30.0,), harms=("later",), folds=3)


def info(kind: DatasetKind = "branches") -> DatasetInfo:
    site = Site((1, LAYER), 24)
    return DatasetInfo(
        model="toy@1",
        assets="lite",
        suites=("libero_spatial",),
        sites={"llm.resid": site, "llm.resid:image": site},
        kind=kind,
        setup={"offsets": offsets()},
    )


def test_a_folder_of_branches_is_read_as_it_was_collected(tmp_path):
    oracle = branch_table(forks=20, scenes=12)
    with EpisodeWriter(tmp_path / "branches", info()) as writer:
        for episode in branch_episodes(oracle):
            writer.append(episode)
    table = read_branches(tmp_path / "branches", READS, LAYER)
    assert (len(table), table.left_out, table.names) == (20, 0, tuple(offsets()))
    np.testing.assert_allclose(
        np.sort(table.features, axis=0), np.sort(oracle.table.features, axis=0)
    )
    with EpisodeWriter(tmp_path / "plain", info("collection")) as writer:
        writer.append(branch_episodes(oracle)[0])
    with pytest.raises(UserError, match="not of branches"):
        read_branches(tmp_path / "plain", READS, LAYER)


def test_what_is_learnt_is_said_in_plain_numbers():

    table = branch_table().table
    more = normals_of_branches(branch_table(forks=900).table)
    learnt = learn_intents(table, SEARCH, more)
    assert set(learnt.intents()) == {"action_value", "permuted", "along_normal"}
    assert learnt.normal is not None
    assert learnt.normal.states == len(more)
    assert learnt.length == pytest.approx(0.3)
    acts = [(one.choose(table.features) != 0).mean() for one in (learnt.value, learnt.permuted)]
    assert acts[0] == pytest.approx(acts[1], abs=0.01)
    said = json.loads(json.dumps(report(table, learnt, SEARCH), allow_nan=False))
    assert said["held out"]["policies"]["action value"]["later change"] < -0.2
    assert said["chosen"]["action_value"]["features"] in (3, 8)


def test_without_contacts_there_is_no_normal():
    table = branch_table().table
    clean = replace(table, normal=np.full_like(table.normal, np.nan), ahead=table.ahead + np.inf)
    assert set(learn_intents(clean, SEARCH).intents()) == {"action_value", "permuted"}


@pytest.mark.slow
def test_in_the_forward_the_intent_sees_what_it_was_fitted_to():
    """Taps of the unsteered forward, in the order of `reads`, give what the push then wants."""
    policy, inputs = tiny_policy(), tiny_policy_inputs(6)
    sites = ("llm.resid", "llm.resid:image")
    tapped = policy.predict_inputs(inputs, sites=sites).activations
    features = np.concatenate([tapped[site][:, 1] for site in sites], axis=1)
    rng = np.random.default_rng(0)
    states = features.mean(0) + rng.normal(size=(400, features.shape[1])) * features.std(0)
    # Which way the obstacle lies is the loudest direction of these states.
    axis = np.linalg.svd(states - states.mean(0), full_matrices=False)[2][0]
    side = (states - states.mean(0)) @ axis
    oracle = branch_table()
    chance = 1 / (1 + np.exp(np.sign(side)[:, None] * 3 * oracle.table.offsets[:, 0] / 0.3))
    later = rng.random(chance.shape) < chance
    table = replace(
        oracle.table,
        features=states.astype(np.float32),
        soon=later,
        later=later,
        normal=np.full_like(oracle.table.normal, np.nan),
    )
    learnt = learn_intents(table, SEARCH)
    want = learnt.value.offsets[learnt.value.choose(features)]
    assert (want != 0).any()
    on = np.zeros(TINY.layers)
    on[1] = 1
    push = CausalPush.of(
        TableMap.of(rng.normal(size=(6, 7, 1, TINY.width))),
        learnt.intents()["action_value"],
        np.tile(np.eye(7), (6, 1, 1)),
        on,
        reads=READS,
    )
    said = policy.predict_inputs(inputs, steering=push)
    np.testing.assert_allclose(said.wanted, want, atol=1e-6)
    assert ((said.gate > 0).any(axis=1) == (want != 0).any(axis=1)).all()
