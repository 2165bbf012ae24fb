"""The fitted action value: what it finds where there is something, and nothing where not."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from mist_jax.counterfactual.fitting.components import principal_components
from mist_jax.counterfactual.fitting.fit import chosen, fit_action_value, losses, offset_terms
from mist_jax.counterfactual.fitting.logistic import OutcomeFit
from mist_jax.counterfactual.fitting.placebo import acting_as_often, permuted
from mist_jax.counterfactual.fitting.search import Search, scene_folds
from mist_jax.errors import UserError
from tests.helpers.synthetic_branches import branch_table

SEARCH = Search(kept=(4, 8), ridges=(10.0, 100.0, np.inf), folds=3)


@pytest.fixture(scope="module")
def known():
    train, unseen = branch_table(seed=0), branch_table(seed=0, forks=1200)
    return train, unseen, fit_action_value(train.table, SEARCH)


def test_components_are_those_of_scikit_learn():
    features = np.random.default_rng(0).normal(size=(50, 9)) * np.arange(1, 10)
    ours, oracle = principal_components(features, 4), PCA(4).fit(features)
    theirs = oracle.transform(features)
    theirs /= theirs.std(axis=0)
    sign = np.sign((ours(features) * theirs).sum(axis=0))
    np.testing.assert_allclose(ours(features), sign * theirs, atol=1e-4)
    again = ours.projection()(jnp.asarray(features, jnp.float32))
    np.testing.assert_allclose(again, ours(features), rtol=1e-3, atol=1e-3)


def test_there_are_no_more_components_than_the_features_vary_in():
    features = np.outer(np.random.default_rng(0).normal(size=20), np.ones(6)).astype(np.float32)
    assert principal_components(features, 4).basis.shape == (6, 1)
    with pytest.raises(UserError, match="nothing to learn"):
        principal_components(np.ones((20, 6), np.float32), 4)


def test_the_chosen_offset_leads_away_from_the_obstacle(known):
    """The oracle's chances are known, so that chance luck in the outcomes does not count."""
    train, _, value = known
    rows = np.arange(len(train.table))
    choice = value.choose(train.table.features)
    came = train.chance[rows, choice].mean()
    still, best = train.chance[:, 0].mean(), train.chance[rows, train.best].mean()
    assert still - came > 0.8 * (still - best)


def test_features_that_know_nothing_leave_no_interaction():
    value = fit_action_value(branch_table(known=0.0).table, SEARCH)
    z = np.random.default_rng(0).normal(size=(100, value.harm.main.size))
    moved = value.harm.logit(z, offset_terms(value.offsets, value.size))
    effect = moved - moved[:, [0]]
    assert effect.std(axis=0).max() < 0.15


def test_permuted_outcomes_are_those_of_the_task_and_teach_nothing():
    table = branch_table().table
    dealt = permuted(table, seed=1)
    for task in np.unique(table.task):
        rows = table.task == task
        for name in ("soon", "later", "success"):
            assert getattr(dealt, name)[rows].sum() == getattr(table, name)[rows].sum()
        joint, was = (t.later[rows] & t.success[rows] for t in (dealt, table))
        assert joint.sum() == was.sum()
    assert (dealt.later != table.later).mean() > 0.2
    placebo = fit_action_value(dealt, SEARCH)
    oracle = branch_table()
    placebo = acting_as_often(placebo, table.features, 0.6)
    choice = placebo.choose(table.features)
    assert (choice != 0).mean() == pytest.approx(0.6, abs=0.01)
    came = oracle.chance[np.arange(len(table)), choice].mean()
    assert came > oracle.chance[:, 0].mean() - 0.06


def test_the_forward_chooses_as_the_fit_does(known):
    _, unseen, value = known
    features, intent = jnp.asarray(unseen.table.features), value.intent()
    opened, risk = jnp.ones((len(features), 1)), jnp.zeros((len(features), 14))
    wanted = np.asarray(jax.jit(intent.wanted)(features, opened, risk))
    costs, offsets = value.costs(unseen.table.features), jnp.asarray(value.offsets)
    np.testing.assert_allclose(intent.cost(features, offsets), costs, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(
        intent.scores(features), (costs[:, [0]] - costs)[:, 1:], rtol=2e-3, atol=2e-4
    )
    same = (wanted == value.offsets[value.choose(unseen.table.features)]).all(axis=1)
    others = np.sort(np.append(costs[:, 1:], (costs[:, 0] - value.margin)[:, None], axis=1), axis=1)
    assert same[others[:, 1] - others[:, 0] > 1e-3].all()
    assert same.mean() > 0.98
    alone = np.asarray(intent.wanted(features[:1], opened[:1], risk[:1]))
    np.testing.assert_array_equal(alone, wanted[:1])


def test_standing_pat_unless_the_gain_exceeds_the_margin():
    costs = np.asarray([[0.5, 0.45, 0.6], [0.5, 0.2, 0.1], [0.1, 0.5, 0.4]])
    assert chosen(costs, 0, 0.1).tolist() == [0, 2, 0]
    assert chosen(costs, 0, 0.0).tolist() == [1, 2, 0]
    assert chosen(costs, 0, -1.0).tolist() == [1, 2, 2]
    assert chosen(costs, 0, np.inf).tolist() == [0, 0, 0]


def test_the_offsets_terms_are_scaled_squares():
    size = np.full(7, 0.3)
    terms = offset_terms(np.asarray([[0.3, -0.15, 0, 0, 0, 0, 0]]), size)
    np.testing.assert_allclose(terms[0, :2], [1, -0.5])
    np.testing.assert_allclose(terms[0, 7:9], [1, 0.25])
    fit = OutcomeFit(0.0, np.zeros(1), np.eye(14)[1], np.zeros((1, 14)))
    assert fit.logit(np.zeros((1, 1)), terms)[0, 0] == -0.5


def test_the_yardstick_counts_harm_and_failure():
    table = branch_table(forks=20, scenes=12).table
    want = table.later + 0.5 * ~table.success
    np.testing.assert_allclose(losses(table, 0.5), want)


def test_folds_keep_scenes_whole_and_few_scenes_are_refused():
    table = branch_table().table
    folds = scene_folds(table, 5, seed=0)
    assert set(folds) == set(range(5))
    assert all(len(set(folds[table.scene == scene])) == 1 for scene in table.scene)
    assert len(set(scene_folds(table, 5, seed=1) - folds)) > 1
    with pytest.raises(UserError, match="at least 10"):
        scene_folds(branch_table(forks=30, scenes=4).table, 5, seed=0)


def test_features_that_do_not_vary_are_refused():
    table = branch_table(forks=60).table
    same = replace(table, features=np.ones_like(table.features))
    with pytest.raises(UserError, match="the same"):
        fit_action_value(same, SEARCH)
