"""Forks: before the first harm of an episode, once in a clean one, never where nobody may look."""

import dataclasses

import numpy as np
import pytest

from mist_jax.counterfactual.choice import choose_forks
from mist_jax.counterfactual.forks import forks_of, in_drawn_order
from mist_jax.episodes.dataset_info import DatasetInfo, Site
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from mist_jax.record.episode import Episode
from tests.helpers.synthetic_episodes import CHUNK, SITE, contact, episode, perturbed

INFO = DatasetInfo("toy@1", "lite", ("libero_spatial",), {SITE: Site((0,), 4)})


def moving(made: Episode) -> Episode:
    """Every step asks for another action, and executes yet another."""
    commanded = np.arange(7 * len(made.steps), dtype=np.float32).reshape(-1, 7) / 1000
    steps = dataclasses.replace(made.steps, commanded=commanded, action=-commanded)
    return dataclasses.replace(made, steps=steps)


def test_forks_lie_before_the_first_harm_and_hold_what_was_asked_until_then():
    made = moving(episode([contact(2, harmful=False), contact(40, {0: 1.0}), contact(70)]))
    forks = forks_of(made, 3, seed=0)
    assert [fork.query for fork in forks] == [4, 5, 3]  # the query at step 40 could still act
    assert {fork.why for fork in forks} == {"harm ahead"}
    for fork in forks:
        assert fork.step == CHUNK * fork.query
        np.testing.assert_array_equal(fork.prefix, made.steps.commanded[: fork.step])
        np.testing.assert_array_equal(fork.own, made.steps.commanded[fork.step :][:CHUNK])
    assert [fork.query for fork in forks_of(made, 1, seed=0)] == [4]


def test_harm_right_at_the_start_leaves_the_queries_that_there_are():
    assert [fork.query for fork in forks_of(episode([contact(1)]), 3, seed=0)] == [0]
    assert [fork.query for fork in forks_of(episode([contact(8)]), 3, seed=0)] == [0, 1]


def test_what_a_perturbation_or_an_arm_did_or_a_crash_cut_has_no_fork():
    made = episode([contact(40)])
    assert forks_of(perturbed(made, [36]), 3, seed=0) == ()
    assert len(forks_of(perturbed(made, [10]), 3, seed=0)) == 3
    assert forks_of(dataclasses.replace(made, outcome="crashed"), 3, seed=0) == ()
    arm = dataclasses.replace(made.key, arm="mist")
    assert forks_of(dataclasses.replace(made, key=arm), 3, seed=0) == ()


def test_a_clean_episode_is_forked_anywhere_and_where_risk_was_highest():
    drawn = [forks_of(episode(state=state), 3, seed=0) for state in range(200)]
    assert {len(forks) for forks in drawn} == {1}
    times = np.array([forks[0].query for forks in drawn])
    assert set(times) == set(range(12))  # a query is missed with odds of 12 (11/12)^200 < 1e-6
    assert times.tolist() == [forks_of(episode(state=s), 3, seed=0)[0].query for s in range(200)]
    assert times.tolist() != [forks_of(episode(state=s), 3, seed=1)[0].query for s in range(200)]
    made = episode()
    risk = np.zeros((12, 14), np.float32)
    risk[9, 5] = 0.8
    made = dataclasses.replace(made, queries=dataclasses.replace(made.queries, risk=risk))
    forks = forks_of(made, 3, seed=0)
    assert {fork.why: fork.query for fork in forks}.get("riskiest", forks[0].query) == 9
    assert len(forks_of(made, 1, seed=0)) == 1


def test_more_forks_only_add_to_fewer_whatever_order_they_were_read_in():
    groups = [forks_of(episode([contact(40)], state=state), 3, seed=0) for state in range(30)]
    ordered = in_drawn_order(groups, seed=5)
    again = in_drawn_order(groups[::-1], seed=5)
    names = [(fork.scene, fork.query) for fork in ordered]
    assert names == [(fork.scene, fork.query) for fork in again]
    states = [scene.initial_state for scene, _ in names]
    assert states[::3] == states[1::3] == states[2::3] != sorted(states)[::3]


@pytest.mark.parametrize("state", [5000, 8999])
def test_scenes_that_are_put_aside_are_refused_unless_left_out(tmp_path, state):
    with EpisodeWriter(tmp_path, INFO) as writer:
        for one in (1000, state):
            writer.append(episode([contact(40)], state=one))
    with pytest.raises(UserError, match=r"is a \w+ scene, and branches tell how to act in it"):
        choose_forks([tmp_path], per_episode=3, most=None, seed=0)
    forks = choose_forks(
        [tmp_path], per_episode=3, most=2, seed=0, wants=lambda key: key.initial_state == 1000
    )
    assert [(fork.scene.initial_state, fork.query) for fork in forks] == [(1000, 4), (1000, 5)]
    with pytest.raises(UserError, match="no unsteered episode that is wanted"):
        choose_forks([tmp_path], per_episode=3, most=2, seed=0, wants=lambda key: False)
