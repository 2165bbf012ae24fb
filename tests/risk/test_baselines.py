"""Baselines: fair opponents that need no look inside, with known answers and no leakage."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from mist_jax.risk.baselines import inputs
from mist_jax.risk.baselines.rates import BIN, TASK, TASK_CLOCK, EventRates, smoothed_rates
from mist_jax.risk.baselines.rows import BASELINES, TaskPerceptron
from mist_jax.risk.baselines.tasks import one_hot, task_codes
from mist_jax.risk.features import Samples, gather_samples
from mist_jax.risk.plan import Plan, StudyConfig, TrainConfig
from mist_jax.risk.subset import of_episodes
from tests.helpers.synthetic_episodes import SITE, contact, episode, study_episodes

QUICK = TrainConfig(epochs=8, hidden=4, input_noise=(0.0,))
X = 0  # x+; episodes of odd scenes are hit along it


def samples_of(seed: int = 0, count: int = 160, tasks: int = 4) -> Samples:
    """Each task is dangerous (60%, else 3%) at two queries of its own."""
    rng = np.random.default_rng(seed)
    made = []
    for scene in range(count):
        task = scene % tasks
        step = np.arange(0, 96, 8)
        risky = rng.random(12) < np.where(
            np.isin(np.arange(12), [task * 3, task * 3 + 1]), 0.6, 0.03
        )
        hits = [contact(int(s) + 3, {0: 1.0}, pair=("hand", f"plate {s}")) for s in step[risky]]
        activation = np.zeros((12, 1, 2), np.float32)
        made.append(episode(hits, task=task, state=scene // tasks, activation=activation))
    return gather_samples(made, SITE, horizon=8, target="all")


@pytest.fixture(scope="module")
def table():
    samples = samples_of()
    return samples, Plan.of(samples, StudyConfig(target="all", folds=3, train=QUICK))


def fitted(detector, samples, plan) -> Any:
    return detector.fit(samples, plan, lambda epochs: None).members


def auroc(detector, samples, plan) -> float:
    """Of x+ on test rows."""
    score, tested = np.zeros(len(samples)), plan.folds.tested(samples) & samples.valid
    for k, member in enumerate(fitted(detector, samples, plan)):
        rows = plan.folds.test(k, samples)
        score[rows] = detector.score(member, samples)[rows, X]
    return float(roc_auc_score(samples.risk[tested, X], score[tested]))


def test_task_and_clock_together_know_what_neither_knows_alone(table):
    samples, plan = table
    bayes = np.isin(samples.step // 8 - 3 * samples.task, [0, 1])
    tested = plan.folds.tested(samples) & samples.valid
    best = roc_auc_score(samples.risk[tested, X], bayes[tested])
    both, clock, task = (auroc(one, samples, plan) for one in (TASK_CLOCK, BASELINES[0], TASK))
    assert both > best - 0.06
    assert both > max(clock, task) + 0.15


def test_rates_without_a_draw_or_a_kernel_are_the_training_rates(table):
    samples, plan = table
    rows = plan.folds.labelled(0, samples).train & samples.valid
    bins = int(samples.step.max()) // BIN + 1
    asked, came = np.zeros((4, bins, 1)), np.zeros((4, bins, 1))
    for task in range(4):
        for at in range(bins):
            here = rows & (samples.task == task) & (samples.step // BIN == at)
            asked[task, at], came[task, at] = here.sum(), samples.risk[here, X].sum()
    rates = smoothed_rates(asked, came, width=1e-3, draw=1e-9)
    seen = asked[..., 0] > 0
    np.testing.assert_allclose(
        rates[:4][seen], np.clip((came / np.maximum(asked, 1))[seen], 1e-5, 1 - 1e-5), atol=1e-6
    )
    strong = smoothed_rates(asked, came, width=np.inf, draw=1e9)
    np.testing.assert_allclose(strong, came.sum() / asked.sum(), rtol=0.1)


def test_a_chosen_rate_is_that_of_scaled_counts_of_its_fold(table):
    """With one width and one draw to choose from, a member's log-odds are `smoothed_rates`."""
    samples, plan = table
    member = fitted(TASK, samples, plan)[0]
    rows = plan.folds.labelled(0, samples).train & samples.valid
    counts = [
        [
            ((samples.task == t) & rows).sum(),
            (samples.risk[:, X] & (samples.task == t) & rows).sum(),
        ]
        for t in range(4)
    ]
    asked, came = np.moveaxis(np.asarray(counts, float)[:, None, :, None], 2, 0)
    candidates = [smoothed_rates(asked, came, np.inf, draw) for draw in (1, 4, 16, 64, 256)]
    order = np.argsort([task_codes(samples)[samples.task == t][0] for t in range(4)])
    said = expit(member["log_odds"][..., X])
    found = [c[[*order, 4], :, 0] for c in candidates]
    assert min(np.abs(said - one).max() for one in found) < 1e-6


def test_a_new_task_is_told_the_clock_of_all_tasks(table):
    samples, plan = table
    member = fitted(TASK_CLOCK, samples, plan)[0]
    facts = tuple(
        replace(f, key=replace(f.key, task_id=77)) if f.key.task_id == 1 else f
        for f in samples.episodes
    )
    elsewhere = replace(samples, episodes=facts)
    score = TASK_CLOCK.score(member, elsewhere)
    moved = np.asarray([f.key.task_id == 77 for f in facts])[samples.episode]
    pooled = member["log_odds"][-1][samples.step // BIN]
    np.testing.assert_array_equal(score[moved], pooled[moved])
    np.testing.assert_array_equal(score[~moved], TASK_CLOCK.score(member, samples)[~moved])


def test_a_task_has_the_same_code_in_every_table(table):
    samples, _ = table
    some = of_episodes(samples, np.asarray([f.key.task_id > 1 for f in samples.episodes]))
    known = np.unique(task_codes(samples))
    whole = one_hot(task_codes(samples), known)
    keep = np.isin(samples.task, [2, 3])
    np.testing.assert_array_equal(one_hot(task_codes(some), known), whole[keep])
    assert (whole.sum(axis=1) == 1).all()
    assert (one_hot(np.asarray([12345]), known) == 0).all()


def test_members_saw_nothing_of_their_test_fold_nor_of_what_calibrates(table):
    samples, plan = table
    for detector in (TASK, TASK_CLOCK, *BASELINES[3:6]):
        before = fitted(detector, samples, plan)[2]
        hidden = plan.folds.test(2, samples) | ~plan.folds.tested(samples)
        label = samples.label
        steps = np.where(hidden[:, None], label.steps_to_event[::-1], label.steps_to_event)
        changed = replace(
            samples,
            labels={**samples.labels, "all": replace(label, steps_to_event=steps)},
            state=samples.state + 3.0 * hidden[:, None],
            action=samples.action + 3.0 * hidden[:, None],
            motion=samples.motion + 3.0 * hidden[:, None],
        )
        after = fitted(detector, changed, plan)[2]
        jax.tree.map(np.testing.assert_array_equal, dict(before), dict(after))


def test_state_action_task_and_motion_are_read_together():
    """x+ is hit in task 1 where the planned chunk goes forward: neither says it alone."""
    samples = samples_of(3)
    rng = np.random.default_rng(0)
    forward = rng.random(len(samples)) < 0.5
    hit = forward & (samples.task == 1)
    label = samples.label
    steps = np.full_like(label.steps_to_event, np.inf)
    steps[hit, X] = 3.0
    action = samples.action.copy()
    action[:, 0] = np.where(forward, 1.0, -1.0)
    known = replace(
        label, steps_to_event=steps, ahead=steps.min(axis=1), open=np.ones(len(samples), bool)
    )
    made = replace(samples, action=action, labels={**samples.labels, "all": known})
    longer = replace(QUICK, epochs=60, hidden=8)
    plan = Plan.of(made, StudyConfig(target="all", folds=3, train=longer))
    detector = TaskPerceptron("both", inputs.around)
    assert auroc(detector, made, plan) > 0.95
    assert inputs.around(made).shape == (len(made), 9 + 56 + 7)


def test_since_contact_is_nothing_without_one():
    quiet = replace(samples_of(), since_contact=np.asarray([np.inf, 0.0, 8.0], np.float32))
    e = np.exp(-1)
    expected = [[0, 0, 0, 0], [1, 1, 1, 1], [1, e, np.exp(-8 / 32), np.exp(-8 / 128)]]
    np.testing.assert_allclose(inputs.since_contact(quiet), expected, rtol=1e-6)


def reversals_by_hand(samples: Samples) -> np.ndarray:
    """Query by query, with loops."""
    out = []
    for q in range(len(samples)):
        first = q
        while first > 0 and samples.episode[first - 1] == samples.episode[q] and q - first < 3:
            first -= 1
        rows = samples.action[first : q + 1].reshape(-1, 7)[:, :3]
        turns = np.zeros(3)
        for earlier, later in pairwise(rows):
            for d in range(3):
                still = min(abs(earlier[d]), abs(later[d])) <= 0.05
                turns[d] += not still and earlier[d] * later[d] < 0
        rate = turns / (len(rows) - 1)
        out.append([*rate, rate.mean()])
    return np.asarray(out)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_reversals_are_those_counted_by_hand(seed):
    rng = np.random.default_rng(seed)
    samples = of_episodes(TABLE, np.arange(len(TABLE.episodes)) < 2)
    action = rng.choice([-0.5, -0.04, 0.0, 0.04, 0.5], samples.action.shape).astype(np.float32)
    made = replace(samples, action=action)
    np.testing.assert_allclose(inputs.reversals(made), reversals_by_hand(made), rtol=1e-5)


TABLE = samples_of(count=8)


def test_every_baseline_scores_other_tables_than_the_one_it_was_fitted_to(table):
    samples, plan = table
    few = of_episodes(samples, np.arange(len(samples.episodes)) % 7 == 0)
    names = [detector.name for detector in BASELINES]
    assert names[:3] == ["clock", "task", "task x clock"]
    for detector in BASELINES:
        assert detector.claims == "contact"
        score = detector.score(fitted(detector, samples, plan)[1], few)
        assert score.shape == (len(few), 14)
        assert np.isfinite(score).all()


def test_nothing_to_learn_gives_base_rates_and_no_refusal():
    quiet = gather_samples(
        study_episodes(lambda a, step, rng: np.zeros(len(step), bool), scenes=20), SITE
    )
    plan = Plan.of(quiet, StudyConfig(train=QUICK))
    for detector in (TASK, TASK_CLOCK):
        assert isinstance(detector, EventRates)
        score = detector.score(fitted(detector, quiet, plan)[0], quiet)
        assert np.isfinite(score).all()
        assert (score < -4).all()
