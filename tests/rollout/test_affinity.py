"""Workers stay with the task whose scene they have built, and nothing is run twice or left out."""

import dataclasses
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from mist_jax.episodes.index import EpisodeEntry
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.episode_spec import EpisodeSpec
from mist_jax.rollout.source import Listed, choose_task
from tests.helpers.episode_samples import random_episode

MADE = random_episode()


def keys_of(tasks: int, states: int) -> list[EpisodeKey]:
    """The order of an evaluation: all tasks' first states, then their second ones."""
    return [EpisodeKey("s", task, state, 0) for state in range(states) for task in range(tasks)]


def drive(source: Listed, workers: int, choose) -> tuple[list[EpisodeKey], int]:
    """Runs as the loop does; the episodes in the order of their beginning, and scenes built."""
    loaded: list = [None] * workers
    held: dict[int, EpisodeKey] = {}
    begun, built = [], 0
    while True:
        for worker in range(workers):
            if worker in held or (spec := source.draw(loaded[worker])) is None:
                continue
            built += loaded[worker] != spec.task
            loaded[worker], held[worker] = spec.task, spec.key
            begun.append(spec.key)
        if not held:
            return begun, built
        key = held.pop(choose(list(held)))
        source.settle(dataclasses.replace(MADE, key=key))


@settings(max_examples=60)
@given(
    st.integers(1, 6),
    st.integers(1, 8),
    st.integers(1, 9),
    st.integers(0, 12),
    st.randoms(use_true_random=False),
)
def test_every_episode_is_drawn_once_and_those_of_a_task_in_order(
    tasks, states, workers, stored, random
):
    keys = keys_of(tasks, states)
    source = Listed(map(EpisodeSpec, keys))
    known = random.sample(keys, min(stored, len(keys)))
    for key in known:
        source.recall(EpisodeEntry(key, "success", False, False, "", ""))
    begun, built = drive(source, workers, random.choice)
    assert source.missing == 0
    assert Counter(begun) == Counter(keys) - Counter(known)
    for task in range(tasks):
        states_of = [key.initial_state for key in begun if key.task_id == task]
        assert states_of == sorted(states_of)
    # A worker changes its task only when that one has nothing left to begin.
    assert built <= workers * tasks


def test_as_many_workers_as_tasks_that_keep_pace_build_one_scene_each():
    _, built = drive(Listed(map(EpisodeSpec, keys_of(10, 12))), 10, lambda held: held[0])
    assert built == 10


def test_the_task_that_needs_hands_most_is_next():
    left = {("s", 0): 4, ("s", 1): 6, ("s", 2): 3}
    assert choose_task(left, {}, ("s", 2)) == ("s", 2)
    assert choose_task(left, {}, ("s", 7)) == ("s", 1)
    assert choose_task(left, {("s", 1): 1}, None) == ("s", 0)
