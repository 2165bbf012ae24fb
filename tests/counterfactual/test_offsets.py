"""Offsets: so many metres over a chunk, one way each, and back along the chunk's own motion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mist_jax.counterfactual.branch import branches_of, fork_and_offset
from mist_jax.counterfactual.forks import forks_of
from mist_jax.counterfactual.offsets import OffsetSet
from mist_jax.errors import UserError
from mist_jax.record.episode import EpisodeKey
from tests.helpers.synthetic_episodes import contact, episode

OWN = np.zeros((8, 7), np.float32)


def test_an_offset_commands_its_metres_and_radians_over_the_chunk_in_one_dimension():
    offsets = OffsetSet(0.08, 0.4, chunk=8)
    for index, axis in enumerate(("x", "y", "z", "roll", "pitch", "yaw")):
        per_step, size = (0.05, 0.08) if index < 3 else (0.5, 0.4)
        for sign, way in (("+", 1), ("-", -1)):
            change = offsets.change(axis + sign, OWN)
            assert change is not None
            assert 8 * per_step * change[index] == pytest.approx(way * size)
            assert np.count_nonzero(change) == 1
    zero = offsets.change("0", OWN)
    assert zero is not None
    assert not zero.any()
    assert len(offsets.names) == 1 + 12 + 1
    assert OffsetSet(0.08).names == ("0", "x+", "x-", "y+", "y-", "z+", "z-", "back")


@settings(max_examples=100)
@given(arrays(np.float32, (8, 7), elements=st.floats(-1, 1, width=32)), st.floats(0.01, 0.4))
def test_back_is_as_long_as_the_others_and_against_the_own_translation(own, metres):
    offsets = OffsetSet(metres)
    change, motion = offsets.change("back", own), own[:, :3].mean(axis=0)
    if change is None:
        assert np.linalg.norm(motion) < 1e-2
        return
    assert np.linalg.norm(change) == pytest.approx(metres / 0.4, rel=1e-5)
    assert -change[:3] @ motion == pytest.approx(
        np.linalg.norm(change) * np.linalg.norm(motion), rel=1e-4
    )
    assert not change[3:].any()


def test_a_chunk_that_stands_still_has_no_way_back_and_no_such_branch():
    assert OffsetSet(0.1).change("back", OWN) is None
    (fork,) = forks_of(episode([contact(40)]), 1, seed=0)
    assert [one.offset for one in branches_of([fork], OffsetSet(0.1))] == [
        *("0", "x+", "x-", "y+", "y-", "z+", "z-")
    ]


def test_a_branch_is_named_by_its_scene_its_query_and_its_offset():
    (fork,) = forks_of(episode([contact(40)], state=3), 1, seed=0)
    for branch in branches_of([fork], OffsetSet(0.1, 0.2)):
        assert fork_and_offset(branch.key) == (fork.scene, 4, branch.offset)
    with pytest.raises(ValueError, match="names no branch"):
        fork_and_offset(EpisodeKey("libero_spatial", 0, 0, 0, "mist"))


def test_a_datasets_setup_says_which_offsets_it_has():
    offsets = OffsetSet(0.07, 0.3, 2, 5)
    setup = offsets.as_json()
    told = setup["offset_metres"], setup["offset_radians"], setup["branch_queries"]
    assert told == (0.07, 0.3, 2)
    assert setup["offsets"]["y-"] == pytest.approx([0, -0.07 / 5 / 0.05, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"metres": 0.0}, "the first is above 0"),
        ({"metres": 0.1, "radians": -1.0}, "the second 0 or more"),
        ({"metres": 0.5}, "1.25 action units a step"),
        ({"metres": 0.1, "queries": 0}, "give 1 or more"),
    ],
)
def test_offsets_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        OffsetSet(**wrong)
    with pytest.raises(UserError, match="no offset 'up'"):
        OffsetSet(0.1).change("up", OWN)
