"""When an alarm's push lets go, beside a trigger written out for one motion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.rollout.acting.release import NEVER, AlarmsSoFar, Release

M = len(SIGNED_MOTIONS)
RISKS = st.lists(st.lists(st.floats(0, 1, width=32), min_size=M, max_size=M), max_size=12)
OPENS = np.linspace(0.2, 0.8, M, dtype=np.float32)


def followed(release: Release, risks) -> list[tuple[np.ndarray, bool]]:
    """Of each query which motions alarm, and whether the arm lets go of it."""
    so_far, told = AlarmsSoFar.none(), []
    for risk in np.asarray(risks, np.float32).reshape(-1, M):
        released = release.lets_go(so_far)
        so_far = so_far.after(risk, release.threshold(OPENS, so_far))
        told.append((so_far.motions, released))
    return told


@given(RISKS, st.sampled_from([0.25, 0.5, 1.0]))
def test_a_motions_alarm_begins_above_its_threshold_and_ends_at_a_share_of_it(risks, hold):
    told = followed(Release(hold=hold), risks)
    for motion in range(M):
        opens, on = float(OPENS[motion]), False
        for query, risk in enumerate(risks):
            on = risk[motion] > (np.float32(opens) * np.float32(hold) if on else np.float32(opens))
            assert told[query][0][motion] == on
    if hold == 1:
        for (motions, released), risk in zip(told, risks, strict=True):
            np.testing.assert_array_equal(motions, np.asarray(risk, np.float32) > OPENS)
            assert not released


@given(RISKS, st.integers(0, 4), st.sampled_from([0.5, 1.0]))
def test_after_so_many_alarms_in_a_row_it_lets_go_until_none_is_left(risks, queries, hold):
    row = 0
    for motions, released in followed(Release(queries, hold), risks):
        assert released == (queries > 0 and row >= queries)
        row = row + 1 if motions.any() else 0


def test_a_hold_never_raises_a_threshold_nor_opens_what_never_opens():
    all_on = AlarmsSoFar(np.ones(M, bool), 1)
    for level in (-np.inf, -1.0, 0.0, 0.5, np.inf):
        held = Release(hold=0.25).threshold(np.full(M, level, np.float32), all_on)
        assert held.dtype == np.float32
        np.testing.assert_array_equal(held, 0.125 if level == 0.5 else level)
    np.testing.assert_array_equal(NEVER.threshold(OPENS, all_on), OPENS)


@pytest.mark.parametrize("numbers", [(-1, 1.0), (0, 0.0), (0, 1.5), (0, float("nan"))])
def test_numbers_that_are_no_release_are_refused(numbers):
    with pytest.raises(UserError, match="a release is after"):
        Release(*numbers)
