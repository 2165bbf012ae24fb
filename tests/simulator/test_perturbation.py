"""Perturbations repeat themselves, stay in their window and can be undone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mist_jax.errors import UserError
from mist_jax.record.episode import EpisodeKey
from mist_jax.simulator.environment.perturbation import PERTURBATION_KINDS, PerturbationSpec

KEYS = st.builds(
    EpisodeKey,
    suite=st.sampled_from(["libero_spatial", "libero_object"]),
    task_id=st.integers(0, 9),
    initial_state=st.integers(0, 49),
    seed=st.integers(0, 1000),
    arm=st.sampled_from(["none", "steered"]),
)
ACTIONS = st.lists(st.floats(-1, 1, width=32), min_size=7, max_size=7)
KINDS = st.sampled_from(PERTURBATION_KINDS)


@given(KINDS, KEYS, ACTIONS, st.integers(0, 100))
def test_commanded_minus_executed_undoes_the_perturbation(kind, key, action, step):
    action = np.array(action, np.float32)
    perturbation = PerturbationSpec(kind).begin(key, 220)
    executed, perturbed = perturbation.apply(step, action)
    assert executed.dtype == np.float32
    assert np.abs(executed).max() <= 1
    assert perturbed == bool((executed != action).any())
    np.testing.assert_allclose(executed + (action - executed), action, atol=1e-6)


@given(KINDS, KEYS, ACTIONS)
def test_acts_in_its_window_and_on_its_dimensions_alone(kind, key, action):
    action = np.array(action, np.float32)
    perturbation = PerturbationSpec(kind, onset=(5, 20), length=(3, 9)).begin(key, 220)
    window = range(perturbation.onset, perturbation.onset + perturbation.length)
    assert kind == "none" or (5 <= window[0] <= 20 and 3 <= len(window) <= 9)
    touched = {"none": [], "translation": [0, 1, 2], "rotation": [3, 4, 5], "noop": range(7)}
    for step in range(40):
        executed, perturbed = perturbation.apply(step, action)
        changed = set(np.flatnonzero(executed != action).tolist())
        assert changed <= set(touched[perturbation.kind])
        assert not perturbed or step in window


@given(KINDS, KEYS)
def test_the_same_key_draws_the_same_and_arms_share_it(kind, key):
    spec = PerturbationSpec(kind)
    other_arm = EpisodeKey(key.suite, key.task_id, key.initial_state, key.seed, "another")
    assert spec.begin(key, 220) == spec.begin(key, 220) == spec.begin(other_arm, 220)


def test_episodes_differ_cover_every_kind_and_keep_to_the_strength():
    spec = PerturbationSpec("mixed", strength=(0.4, 0.6))
    drawn = [
        spec.begin(EpisodeKey("libero_spatial", task, state, 0), 220)
        for task in range(10)
        for state in range(30)
    ]
    kinds = [each.kind for each in drawn]
    for kind in ("translation", "rotation", "noop"):
        # 300 draws of probability 1/3: four standard deviations are 33.
        assert abs(kinds.count(kind) - 100) < 33
    assert len({each.onset for each in drawn}) > 40
    norms = [np.linalg.norm(each.offset) for each in drawn if each.kind != "noop"]
    assert min(norms) >= 0.4
    assert max(norms) <= 0.6
    mean = np.mean([each.offset[:3] for each in drawn if each.kind == "translation"], axis=0)
    assert np.abs(mean).max() < 0.15


def test_a_known_draw_does_not_change_between_versions():
    key = EpisodeKey("libero_object", 3, 7, 11)
    ranges = {"onset": (10, 60), "length": (10, 20), "strength": (0.3, 1.0)}
    perturbation = PerturbationSpec("translation", **ranges).begin(key, 280)
    again = PerturbationSpec("rotation", **ranges).begin(key, 280)
    assert (perturbation.onset, perturbation.length) == (again.onset, again.length)
    assert perturbation.offset[:3] == again.offset[3:6]
    assert str(perturbation) == (
        "translation at step 23 for 20 by -0.39, +0.44, -0.07, +0.00, +0.00, +0.00"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "teleport"}, "valid ones are none"),
        ({"kind": "noop", "onset": (9, 3)}, "onset"),
        ({"kind": "noop", "length": (0, 3)}, "length"),
        ({"kind": "noop", "strength": (-1.0, 3.0)}, "strength"),
    ],
)
def test_bad_ranges_are_one_clear_line(arguments, words):
    with pytest.raises(UserError, match=words):
        PerturbationSpec(**arguments)


def test_the_onset_lies_before_the_cap():
    key = EpisodeKey("libero_spatial", 0, 0, 0)
    assert PerturbationSpec("noop", onset=(100, 200)).begin(key, 50).onset < 50


def pair_of(numbers):
    return st.tuples(numbers, numbers).map(lambda two: (min(two), max(two)))


@given(
    KINDS,
    pair_of(st.integers(0, 100_000)),
    pair_of(st.integers(1, 100_000)),
    pair_of(st.floats(0, 100)),
)
def test_what_a_dataset_says_of_its_perturbation_is_the_whole_of_it(kind, onset, length, strength):
    spec = PerturbationSpec(kind, onset, length, strength)
    again = PerturbationSpec.parse(str(spec))
    assert again == (PerturbationSpec() if kind == "none" else spec)
    with pytest.raises(UserError, match=r"cannot be read|there is no"):
        PerturbationSpec.parse(f"{spec} and more")
