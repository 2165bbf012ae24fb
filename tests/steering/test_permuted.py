"""Permuted labels keep task, clock and runs, and lose what was the episode's own."""

import numpy as np

from mist_jax.risk.features import gather_samples
from mist_jax.steering.extraction import contrast_means, extract
from mist_jax.steering.permuted import permute_labels
from tests.helpers.synthetic_episodes import SITE, episode, study_episodes
from tests.steering.test_extraction import planted


def test_each_episode_gets_the_labels_of_one_of_its_task_place_by_place():
    episodes = study_episodes(lambda a, s, rng: rng.random(len(s)) < 0.3, scenes=40)
    samples = gather_samples(episodes, SITE, horizon=8, target="all")
    mixed = permute_labels(samples, seed=1)
    rows = [np.flatnonzero(samples.episode == i) for i in range(len(samples.episodes))]
    task = [facts.task for facts in samples.episodes]
    givers = [
        [
            j
            for j, other in enumerate(rows)
            if task[i] == task[j] and np.array_equal(mixed.risk[own], samples.risk[other])
        ]
        for i, own in enumerate(rows)
    ]
    assert all(givers)
    silent = [not mixed.risk[own].any() for own in rows]  # episodes without events are alike
    kept = [i in one and not silent[i] for i, one in enumerate(givers)]
    assert sum(kept) <= 1, "nobody keeps its own"
    for value in set(task):  # nothing is lost or doubled within a task
        of_task = np.isin(samples.episode, [i for i, t in enumerate(task) if t == value])
        np.testing.assert_array_equal(
            mixed.risk[of_task].sum(axis=0), samples.risk[of_task].sum(axis=0)
        )
    np.testing.assert_array_equal(mixed.activation, samples.activation)


def test_a_query_beyond_the_givers_end_is_no_sample():
    episodes = [
        episode(length=length, state=state, activation=np.zeros((length // 8, 1, 4), np.float32))
        for state, length in ((0, 96), (1, 32))
    ]
    samples = gather_samples(episodes, SITE, horizon=8, target="all")
    mixed = permute_labels(samples, seed=0)
    assert mixed.valid.tolist() == [True] * 4 + [False] * 8 + [True] * 4


def test_what_was_planted_is_not_found_under_permuted_labels():
    samples = planted(2.0)
    mixed = permute_labels(samples, seed=0)
    own, lost = (
        extract("contrast", contrast_means, one, columns=[1]).facts["x+"]
        for one in (samples, mixed)
    )
    assert own["auroc_layer_0"] > 0.85
    assert abs(lost["auroc_layer_0"] - 0.5) < 0.12
