"""Labels follow docs/definitions.md: what is positive, what is masked, and which way it moved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.record.event import EVENT_GAP, harmful_events
from mist_jax.risk.labels import EventLabels, event_labels, failure_labels
from tests.helpers.synthetic_episodes import contact, episode, perturbed

STEPS = np.arange(0, 96, 8)  # of the queries of a synthetic episode
Z, Z_BACK, X, X_BACK = (SIGNED_MOTIONS.index(name) for name in ("z+", "z-", "x+", "x-"))


def risky(labels: EventLabels, motion: int) -> list[int]:
    return STEPS[labels.risk[:, motion]].tolist()


@pytest.mark.parametrize("target", ["first", "all"])
def test_an_event_labels_exactly_the_queries_within_the_horizon_before_it(target):
    labels = event_labels(episode([contact(40, {2: 0.9, 0: 0.1})]), target, horizon=16)
    assert risky(labels, Z) == [32, 40]
    assert labels.steps_to_event[labels.risk[:, Z], Z].tolist() == [8.0, 0.0]
    assert labels.risk.sum() == 2, "no other motion, and not z the other way"
    assert STEPS[labels.any_risk].tolist() == [32, 40]


def test_the_edge_of_the_horizon_is_outside():
    assert risky(event_labels(episode([contact(40, {2: 1.0})]), horizon=8), Z) == [40]


def test_the_way_of_the_motion_is_the_label():
    labels = event_labels(episode([contact(40, {2: 0.5, 0: 0.5}, way=-1.0)]))
    assert risky(labels, Z_BACK) == risky(labels, X_BACK) == [32, 40]
    assert labels.risk.sum() == 4


def test_a_share_below_the_threshold_is_no_blame():
    labels = event_labels(episode([contact(40, {0: 0.24, 1: 0.25})]))
    driven = {SIGNED_MOTIONS[m] for m in np.flatnonzero(labels.risk.any(axis=0))}
    assert driven == {"y+"}


def test_an_event_that_nothing_drives_is_an_event():
    labels = event_labels(episode([contact(40)]))
    assert not labels.risk.any()
    assert STEPS[labels.any_risk].tolist() == [32, 40]
    assert not labels.open[STEPS > 40].any()


def test_all_events_mask_a_running_contact_and_are_negative_after_it():
    running = [contact(40, {2: 1.0})] + [contact(s, onset=False) for s in range(41, 60)]
    labels = event_labels(episode(running), "all")
    assert STEPS[~labels.valid].tolist() == [48, 56]
    # The predecessor's bug: everything after the first collision was positive.
    assert not labels.risk[STEPS > 40].any()


def test_after_the_first_event_there_is_no_first_event_to_forecast():
    two = [contact(20, {2: 1.0}), contact(70, {0: 1.0})]
    first, both = (event_labels(episode(two), target) for target in ("first", "all"))
    assert STEPS[first.open].tolist() == [0, 8, 16]
    assert not first.risk[:, X].any()
    assert risky(both, X) == [56, 64]
    assert risky(first, Z) == risky(both, Z) == [8, 16]


def test_bounces_are_masked_and_not_forecast():
    bounce = [contact(24, {2: 1.0}), contact(24 + EVENT_GAP - 1, {2: 1.0})]
    labels = event_labels(episode(bounce), "all")
    assert risky(labels, Z) == [16, 24]
    assert STEPS[~labels.open].tolist() == [32]
    apart = event_labels(episode([contact(24, {2: 1.0}), contact(24 + EVENT_GAP, {2: 1.0})]), "all")
    assert risky(apart, Z) == [16, 24, 32, 40]


def test_two_bodies_hit_in_the_same_step_are_both_the_first_event():
    both = [
        contact(41, {0: 1.0}, pair=("hand", "plate")),
        contact(41, {2: 1.0}, pair=("link7", "stove"), way=-1.0),
        contact(42, {1: 1.0}, pair=("link6", "stove")),
    ]
    labels = event_labels(episode(both))
    assert risky(labels, X) == risky(labels, Z_BACK) == [32, 40]
    assert labels.risk.sum() == 4, "what begins a step later is not the first"


def test_the_nearer_of_two_events_decides_the_time():
    both = [contact(44, {0: 1.0}, pair=("a", "b")), contact(41, {0: 1.0}, way=-1.0)]
    labels = event_labels(episode(both), "all")
    assert labels.steps_to_event[5, [X, X_BACK]].tolist() == [4, 1]
    assert labels.ahead[5] == 1


def test_meant_contacts_are_ignored():
    labels = event_labels(episode([contact(40, {2: 1.0}, harmful=False)]))
    assert labels.valid.all()
    assert not labels.any_risk.any()


def test_a_crash_and_a_time_out_cut_the_horizon_and_a_success_does_not():
    for outcome in ("crashed", "failure"):
        cut = event_labels(episode([], outcome=outcome), horizon=24)
        assert STEPS[~cut.valid].tolist() == [80, 88]
        assert cut.open.all()
    done = event_labels(episode([], outcome="success"), horizon=24)
    assert done.valid.all()
    assert np.isinf(done.seen).all()


def test_the_mark_of_a_perturbation_is_at_the_queries_before_its_event():
    made = perturbed(episode([contact(20, {0: 1.0}), contact(70, {0: 1.0})]), range(64, 66))
    labels = event_labels(made, "all")
    assert STEPS[labels.exogenous].tolist() == [56, 64]
    assert not event_labels(made, "first").exogenous.any()


def test_failure_labels_never_call_a_crash_a_failure():
    failed = failure_labels(episode(outcome="failure"), within=16)
    assert failed.steps_to_failure[0] == 96
    assert STEPS[failed.fail_within].tolist() == [80, 88]
    assert not failure_labels(episode(outcome="success")).fail_within.any()
    assert not failure_labels(episode(outcome="crashed")).valid.any()


def test_an_unknown_target_is_refused():
    with pytest.raises(ValueError, match="no target 'last'"):
        event_labels(episode(), "last")  # pyright: ignore[reportArgumentType]


runs = st.lists(
    st.tuples(
        st.integers(0, 95), st.integers(1, 20), st.integers(0, 6), st.booleans(), st.booleans()
    ),
    max_size=5,
    unique_by=lambda run: run[0],
)


def contacts_of(drawn):
    made = []
    for number, (start, length, dim, harmful, forward) in enumerate(drawn):
        for step in range(start, min(start + length, 96)):
            made.append(
                contact(
                    step,
                    {dim: 1.0} if step == start else None,
                    onset=step == start,
                    harmful=harmful,
                    pair=("hand", f"object {number}"),
                    way=1.0 if forward else -1.0,
                )
            )
    return made


@settings(max_examples=60)
@given(runs, st.integers(1, 40), st.sampled_from(["success", "failure", "crashed"]))
def test_laws_of_labels_of_all_events(drawn, horizon, outcome):
    made = episode(contacts_of(drawn), outcome=outcome)
    labels = event_labels(made, "all", horizon=horizon)
    wider = event_labels(made, "all", horizon=horizon + 5)
    assert not (labels.risk & ~labels.open[:, None]).any()
    assert (labels.risk <= wider.risk).all(), "a longer horizon only adds positives"
    assert (labels.valid >= wider.valid).all(), "and knows the whole of it of fewer queries"
    for row, step in enumerate(STEPS):
        inside = any(s < step < s + n for s, n, _, harmful, _ in drawn if harmful)
        known = outcome == "success" or step + horizon <= 96
        assert labels.open[row] == (not inside)
        assert labels.valid[row] == (known and not inside)
        for motion, name in enumerate(SIGNED_MOTIONS):
            ahead = [
                s - step
                for s, _, d, harmful, forward in drawn
                if harmful and (2 * d + (not forward)) == motion and s >= step
            ]
            soon = min(ahead, default=np.inf)
            expected = soon if soon < horizon else np.inf
            assert labels.steps_to_event[row, motion] == expected, name
            assert labels.risk[row, motion] == (np.isfinite(expected) and not inside)


@settings(max_examples=60)
@given(runs, runs, st.sampled_from(["success", "failure", "crashed"]))
def test_labels_of_the_first_event_know_nothing_of_what_follows_it(drawn, later, outcome):
    whole = episode(contacts_of(drawn), outcome=outcome)
    events = harmful_events(whole)
    if not events:
        return
    first = min(event.first for event in events)
    before = [c for c in whole.contacts if c.step <= first]
    after = [c for c in contacts_of(later) if c.step > first]
    labels = event_labels(whole)
    changed = event_labels(episode([*before, *after], outcome=outcome))
    for name, value in vars(labels).items():
        np.testing.assert_array_equal(value, getattr(changed, name), name)
    assert (labels.open == (first >= STEPS)).all()
    assert (labels.risk <= event_labels(whole, "all").risk).all()


@settings(max_examples=60)
@given(runs, st.sampled_from(["first", "all"]), st.sampled_from(["failure", "crashed"]))
def test_whether_a_query_counts_does_not_depend_on_what_it_is_to_forecast(drawn, target, outcome):
    """A cut horizon that counted only where an event came first would hold positives alone."""
    made = contacts_of(drawn)
    for row, step in enumerate(STEPS):
        past = [c for c in made if c.step < step]
        ahead = [c for c in made if c.step >= step and c.onset]
        alone = event_labels(episode(past, outcome=outcome), target)
        followed = event_labels(episode([*past, *ahead], outcome=outcome), target)
        assert alone.valid[row] == followed.valid[row]


@settings(max_examples=60)
@given(runs, st.sampled_from([(16, 1), (16, 2), (16, 4), (16, 16), (24, 3), (24, 8)]),
       st.sampled_from(["first", "all"]), st.sampled_from(["success", "failure"]))  # fmt: skip
def test_survival_through_the_windows_is_the_label(drawn, horizon_windows, target, outcome):
    horizon, windows = horizon_windows
    labels = event_labels(episode(contacts_of(drawn), outcome=outcome), target, horizon=horizon)
    event, at_risk = labels.hazard(windows)
    assert event.shape == at_risk.shape == (len(STEPS), windows, len(SIGNED_MOTIONS))
    assert (event <= at_risk).all()
    assert (event.sum(axis=1) <= 1).all(), "an event happens once"
    assert (at_risk[:, 1:] <= at_risk[:, :-1]).all(), "who left does not come back"
    known = labels.valid
    assert (event.any(axis=1) == labels.risk)[known].all()
    assert at_risk[known, 0].all()
    # Who is in the next window is who was in this one and had no event.
    assert (at_risk[known, 1:] == (at_risk & ~event)[known, :-1]).all()
    whole, counted = labels.hazard(1)
    assert (whole[:, 0] == labels.risk & labels.valid[:, None]).all()
    assert (counted[:, 0] == labels.valid[:, None]).all()


def test_windows_that_a_time_out_cuts_are_censored():
    made = episode([contact(92, {2: 1.0}, pair=("a", "b"))], outcome="failure")
    event, at_risk = event_labels(made, horizon=16).hazard(4)
    row = STEPS.tolist().index(88)  # 8 steps are known after it
    assert at_risk[row, :, X].tolist() == [True, True, False, False]
    assert event[row, :, Z].tolist() == [False, True, False, False]
    with pytest.raises(UserError, match="3 windows do not divide a horizon of 16 steps"):
        event_labels(made, horizon=16).hazard(3)


def test_the_hazard_is_the_likelihood_of_expanded_person_periods():
    """Per window, the maximum of the discrete hazard likelihood by hand and by statsmodels."""
    statsmodels = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(0)
    made = []
    for state in range(60):
        hits = [contact(int(s), {0: 1.0}) for s in rng.integers(0, 96, rng.integers(0, 3))]
        made.append(
            event_labels(
                episode(hits, state=state, outcome=rng.choice(["success", "failure"])), horizon=16
            )
        )
    labels = EventLabels.joined(made)
    event, at_risk = labels.hazard(4)
    rows = []  # person-periods, written out from the definition
    for steps, seen, free in zip(
        labels.steps_to_event[:, X], labels.seen, labels.open, strict=True
    ):
        for window in range(4):
            if free and seen >= 4 * window + 4 and steps >= 4 * window:
                rows.append((window, 4 * window <= steps < 4 * window + 4))
    window, happened = np.asarray(rows).T
    fitted = statsmodels.GLM(
        happened, np.eye(4)[window], family=statsmodels.families.Binomial()
    ).fit()
    hazard = event[..., X].sum(axis=0) / at_risk[..., X].sum(axis=0)
    np.testing.assert_allclose(fitted.predict(np.eye(4)), hazard, rtol=1e-6)
    likelihood = np.where(event[..., X], np.log(hazard), np.log1p(-hazard))[at_risk[..., X]].sum()
    np.testing.assert_allclose(fitted.llf, likelihood, rtol=1e-9)
    known = labels.valid
    survival = np.prod(1 - event[known][..., X].sum(axis=0) / at_risk[known][..., X].sum(axis=0))
    np.testing.assert_allclose(1 - survival, labels.risk[known, X].mean(), rtol=1e-12)
