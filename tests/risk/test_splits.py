"""No scene is on two sides of a split, and every query is tested once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mist_jax.errors import UserError
from mist_jax.risk.features import gather_samples
from mist_jax.risk.splits import make_folds
from tests.helpers.synthetic_episodes import SITE, contact, episode

keys = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=3, max_size=40)


@settings(deadline=None, max_examples=40)
@given(keys, st.integers(3, 6), st.sampled_from(["episode", "task"]), st.integers(0, 9))
def test_groups_stay_together_and_each_query_is_tested_once(drawn, count, split, seed):
    episodes = [episode([contact(40, {t: 1.0})] if s else [], task=t, state=s) for t, s in drawn]
    samples = gather_samples(episodes, SITE)
    groups = {t if split == "task" else (t, s) for t, s in drawn}
    if len(groups) < 3:
        with pytest.raises(UserError, match="at least 3"):
            make_folds(samples, split, count, seed)
        return
    folds = make_folds(samples, split, count, seed)
    assert folds.count == min(count, len(groups))
    assert set(folds.fold) == set(range(folds.count)), "no fold is empty"
    tested = np.zeros(len(samples), int)
    for k in range(folds.count):
        test, check, train = (
            part(k, samples) for part in (folds.test, folds.validation, folds.train)
        )
        assert ((test.astype(int) + check + train) == 1).all()
        tested += test

        def group(rows):
            found = [samples.episodes[e].key for e in samples.episode[rows]]
            return {k.task_id if split == "task" else (k.task_id, k.initial_state) for k in found}

        assert not group(test) & group(train)
        assert not group(check) & group(train)
        assert not group(test) & group(check)
    assert (tested == 1).all()


def test_positives_of_a_rare_dimension_are_spread_over_folds():
    episodes = [
        episode([contact(40, {1: 1.0})] if s < 5 else [], task=s % 5, state=s) for s in range(40)
    ]
    samples = gather_samples(episodes, SITE)
    folds = make_folds(samples, "episode", 5, 0)
    positives = [samples.risk[folds.test(k, samples), 1].sum() for k in range(5)]
    assert positives == [2] * 5


def test_episodes_of_two_models_do_not_mix():
    with pytest.raises(UserError, match="one model per dataset"):
        gather_samples([episode(), episode(model="other@2")], SITE)
    with pytest.raises(UserError, match=r"no activations of 'llm\.mlp'"):
        gather_samples([episode()], "llm.mlp")
    with pytest.raises(UserError, match="no policy queries"):
        gather_samples([], SITE)
