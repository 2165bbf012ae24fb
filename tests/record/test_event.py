"""Events: contacts of a pair with their bounces, in time, and whether a perturbation was acting."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mist_jax.record.event import EVENT_GAP, EXOGENOUS_STEPS, first_events, harmful_events
from tests.helpers.synthetic_episodes import contact, episode, perturbed


def spans(contacts) -> list[tuple[int, int]]:
    return [(event.first, event.last) for event in harmful_events(episode(contacts))]


def test_onsets_of_a_pair_closer_than_the_gap_are_one_event():
    assert spans([contact(10), contact(10 + EVENT_GAP - 1)]) == [(10, 10 + EVENT_GAP - 1)]
    assert spans([contact(10), contact(10 + EVENT_GAP)]) == [(10, 10), (26, 26)]


def test_the_gap_counts_from_the_last_contact_and_not_from_the_onset():
    long = [contact(step, onset=step == 10) for step in range(10, 41)]
    assert spans([*long, contact(50)]) == [(10, 50)]


def test_other_pairs_and_meant_contacts_do_not_merge():
    two = [contact(10), contact(12, pair=("hand", "stove"))]
    assert spans(two) == [(10, 10), (12, 12)]
    meant = [contact(10), contact(20, harmful=False), contact(10 + EVENT_GAP)]
    assert spans(meant) == [(10, 10), (26, 26)]


def test_who_drove_an_event_is_said_by_its_first_onset():
    (event,) = harmful_events(episode([contact(10, {0: 1.0}), contact(14, {2: 1.0}, way=-1.0)]))
    assert event.onset.share[0] == 1.0
    assert event.onset.step == 10


def test_first_events_are_those_of_the_earliest_step_in_any_order():
    hits = [contact(step, pair=("hand", f"object {i}")) for i, step in enumerate((30, 12, 12))]
    events = harmful_events(episode(hits))
    assert {e.onset.obstacle_body for e in first_events(events[::-1])} == {"object 1", "object 2"}
    assert first_events(()) == ()


@pytest.mark.parametrize(
    ("acting", "exogenous"),
    [
        ({40 - EXOGENOUS_STEPS - 1}, False),  # too long before the query at step 40
        ({40 - EXOGENOUS_STEPS}, True),
        ({44}, True),
        ({45}, True),  # in the step of the onset itself
        ({46}, False),
        (set(), False),
    ],
)
def test_an_event_is_exogenous_if_a_perturbation_acted_from_before_its_query(acting, exogenous):
    made = perturbed(episode([contact(45)]), acting)  # queries are at 0, 8, ... 40, 48
    assert [event.exogenous for event in harmful_events(made)] == [exogenous]


def test_without_queries_the_steps_before_the_onset_count():
    made = episode([contact(45)])
    made = replace(made, queries=replace(made.queries, step=np.zeros(0, np.int32)))
    marks = [harmful_events(perturbed(made, {step}))[0].exogenous for step in range(35, 48)]
    assert np.flatnonzero(marks).tolist() == list(range(2, 11)), "37 to 45"


contacts = st.lists(
    st.builds(
        lambda step, onset, harmful, body: contact(
            step, onset=onset, harmful=harmful, pair=("hand", body)
        ),
        st.integers(0, 95),
        st.booleans(),
        st.booleans(),
        st.sampled_from(["plate", "stove"]),
    ),
    max_size=25,
)


@settings(max_examples=100)
@given(contacts)
def test_laws_of_events(drawn):
    made = episode(drawn)
    events = harmful_events(made)
    assert [event.first for event in events] == sorted(event.first for event in events)
    assert len(events) <= sum(one.harmful for one in drawn)
    harmful = {(c.step, c.obstacle_body) for c in drawn if c.harmful}
    covered = {
        (step, event.onset.obstacle_body)
        for event in events
        for step in range(event.first, event.last + 1)
    }
    assert harmful <= covered, "every harmful contact is of an event"
    for event in events:
        body = event.onset.obstacle_body
        assert {(event.first, body), (event.last, body)} <= harmful
        later = [e.first for e in events if e.onset.obstacle_body == body and e.first > event.first]
        assert all(first - event.last >= EVENT_GAP for first in later)
    # Merging what was merged changes nothing.
    ends = [
        replace(event.onset, step=step)
        for event in events
        for step in range(event.first, event.last + 1)
    ]
    again = harmful_events(episode(ends))
    assert {(e.first, e.last, e.onset.obstacle_body) for e in again} == {
        (e.first, e.last, e.onset.obstacle_body) for e in events
    }


@settings(max_examples=50)
@given(contacts)
def test_recorded_onsets_are_never_fewer_than_events(drawn):
    """With onsets as the monitor marks them: a contact after three steps or more without one."""
    marked, last = [], {}
    for one in sorted(drawn, key=lambda c: c.step):
        key = one.obstacle_body, one.harmful
        marked.append(replace(one, onset=one.step - last.get(key, -99) > 3))
        last[key] = one.step
    made = episode(marked)
    events = harmful_events(made)
    assert len(events) <= len(made.harmful_onsets)
    assert all(event.onset.onset for event in events)
