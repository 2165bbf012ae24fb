"""Labels follow docs/definitions.md: what is positive, what is masked, and which way it moved."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mist_jax.risk.labels import failure_labels, harmful_runs, risk_labels
from tests.helpers.synthetic_episodes import contact, episode


def test_a_contact_labels_exactly_the_queries_within_the_horizon_before_it():
    labels = risk_labels(episode([contact(40, {2: 0.9, 0: 0.1})]), horizon=16)
    steps = np.arange(0, 96, 8)
    assert steps[labels.risk[:, 2]].tolist() == [32, 40]
    assert labels.steps_to_onset[labels.risk[:, 2], 2].tolist() == [8.0, 0.0]
    assert not labels.risk[:, [0, 1, 3, 4, 5, 6]].any()


def test_the_edge_of_the_horizon_is_outside():
    labels = risk_labels(episode([contact(40, {2: 1.0})]), horizon=8)
    assert np.flatnonzero(labels.risk[:, 2]).tolist() == [5]


def test_a_share_below_the_threshold_is_no_blame():
    labels = risk_labels(episode([contact(40, {0: 0.24, 1: 0.25})]))
    assert not labels.risk[:, 0].any()
    assert labels.risk[:, 1].any()


def test_queries_inside_a_running_contact_are_masked_and_after_it_negative():
    running = [contact(40, {2: 1.0})] + [contact(s, onset=False) for s in range(41, 60)]
    labels = risk_labels(episode(running))
    steps = np.arange(0, 96, 8)
    assert steps[~labels.valid].tolist() == [48, 56]
    # The predecessor's bug: everything after the first collision was positive.
    assert not labels.risk[steps > 40].any()


def test_meant_contacts_are_ignored():
    labels = risk_labels(episode([contact(40, {2: 1.0}, harmful=False)]))
    assert labels.valid.all()
    assert not labels.risk.any()


def test_a_chattering_contact_is_one_run():
    gap = [contact(10), contact(12, onset=False), contact(20)]
    assert harmful_runs(gap) == ((10, 12), (20, 20))


def test_the_first_of_two_contacts_decides_time_and_sign():
    both = [contact(44, {0: 1.0}, pair=("a", "b")), contact(41, {0: 1.0}, way=-1.0)]
    labels = risk_labels(episode(both))
    assert labels.steps_to_onset[5, 0] == 1
    assert labels.sign[5].tolist() == [-1, 0, 0, 0, 0, 0, 0]


def test_a_crash_masks_what_it_cut_short():
    labels = risk_labels(episode([], outcome="crashed"), horizon=16)
    assert np.arange(0, 96, 8)[~labels.valid].tolist() == [88]


def test_a_horizon_past_a_time_out_is_censored_and_past_a_success_negative():
    steps = np.arange(0, 96, 8)
    late = risk_labels(episode([], outcome="failure"), horizon=24)
    assert steps[~late.valid].tolist() == [80, 88]
    came = risk_labels(episode([contact(90, {1: 1.0})], outcome="failure"), horizon=24)
    assert came.valid.all(), "a contact came before the time-out"
    assert steps[came.risk[:, 1]].tolist() == [72, 80, 88]
    done = risk_labels(episode([], outcome="success"), horizon=24)
    assert done.valid.all()
    assert not done.risk.any()


def test_failure_labels_never_call_a_crash_a_failure():
    failed = failure_labels(episode(outcome="failure"), within=16)
    assert failed.steps_to_failure[0] == 96
    assert np.arange(0, 96, 8)[failed.fail_within].tolist() == [80, 88]
    assert not failure_labels(episode(outcome="success")).fail_within.any()
    assert not failure_labels(episode(outcome="crashed")).valid.any()


runs = st.lists(
    st.tuples(st.integers(0, 95), st.integers(1, 20), st.integers(0, 6), st.booleans()),
    max_size=5,
    unique_by=lambda run: run[0],
)


@settings(deadline=None, max_examples=60)
@given(runs, st.integers(1, 40))
def test_laws_of_labels(drawn, horizon):
    contacts = []
    for number, (start, length, dim, harmful) in enumerate(drawn):
        pair = ("hand", f"object {number}")
        for step in range(start, min(start + length, 96)):
            first = step == start
            shares = {dim: 1.0} if first else None
            contacts.append(contact(step, shares, onset=first, harmful=harmful, pair=pair))
    labels = risk_labels(episode(contacts), horizon=horizon)
    wider = risk_labels(episode(contacts), horizon=horizon + 5)
    steps = np.arange(0, 96, 8)
    assert not (labels.risk & ~labels.valid[:, None]).any()
    assert (labels.risk <= wider.risk).all(), "a longer horizon only adds positives"
    assert (labels.valid == wider.valid).all()
    for row, step in enumerate(steps):
        inside = any(s < step < s + n for s, n, _, harmful in drawn if harmful)
        assert labels.valid[row] == (not inside)
        for dim in range(7):
            ahead = [s - step for s, _, d, harmful in drawn if harmful and d == dim and s >= step]
            soon = min(ahead, default=np.inf)
            expected = soon if soon < horizon and not inside else np.inf
            assert labels.steps_to_onset[row, dim] == expected
            assert labels.risk[row, dim] == np.isfinite(expected)


def test_share_of_zero_dims_is_never_positive_without_onset():
    assert not risk_labels(episode([contact(40, {0: 1.0}, onset=False)])).risk.any()
