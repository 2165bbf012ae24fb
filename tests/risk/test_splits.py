"""Five roles: no scene (or instruction) plays two of them, and every query plays one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mist_jax.errors import UserError
from mist_jax.risk.features import Samples, gather_samples
from mist_jax.risk.plan import usable_motions
from mist_jax.risk.splits import ROLES, Folds, make_folds
from tests.helpers.synthetic_episodes import SITE, contact, episode

SUITES = ("libero_spatial", "libero_spatial_cluttered")
keys = st.lists(
    st.tuples(st.sampled_from(SUITES), st.integers(0, 6), st.integers(0, 3)),
    min_size=3,
    max_size=40,
)


def samples_of(drawn) -> Samples:
    """Tasks of the two suites that have the same number have the same instruction."""
    made = [
        episode([contact(40, {t % 7: 1.0})] if s else [], suite=suite, task=t, state=s)
        for suite, t, s in drawn
    ]
    return gather_samples(made, SITE)


def roles(folds: Folds, k: int, samples: Samples) -> dict[str, np.ndarray]:
    return {
        "test": folds.test(k, samples),
        "select": folds.select(k, samples),
        "train": folds.train(k, samples),
        "calibrate": folds.calibrate(samples),
        "threshold": folds.threshold(samples),
    }


@settings(max_examples=40)
@given(keys, st.integers(3, 6), st.sampled_from(["episode", "task"]), st.integers(0, 9))
def test_roles_are_disjoint_and_cover_and_groups_stay_together(drawn, count, split, seed):
    samples = samples_of(drawn)
    groups = {t if split == "task" else (suite, t, s) for suite, t, s in drawn}
    if len(groups) < ROLES:
        with pytest.raises(UserError, match=f"at least {ROLES}"):
            make_folds(samples, split, count, seed)
        return
    folds = make_folds(samples, split, count, seed)
    group = np.asarray(
        [
            hash(f.instruction if split == "task" else (f.key.suite, f.key.task_id, f.scene[2]))
            for f in samples.episodes
        ]
    )[samples.episode]
    tested = np.zeros(len(samples), int)
    for k in range(folds.count):
        parts = roles(folds, k, samples)
        assert (np.sum(list(parts.values()), axis=0) == 1).all()
        assert all(part.any() for part in parts.values()), "every role has somebody"
        owners = [set(group[part]) for part in parts.values()]
        assert sum(len(owner) for owner in owners) == len(set(group)), "no group has two roles"
        tested += parts["test"]
        rows = folds.labelled(k, samples)
        assert (rows.train <= parts["train"]).all()
        assert (rows.select <= parts["select"]).all()
        assert (rows.train == parts["train"] & samples.label.open).all()
    assert (tested == folds.tested(samples)).all(), "once each, or never"


def test_a_plain_and_a_cluttered_task_of_one_instruction_share_a_role():
    samples = samples_of([(suite, t, s) for suite in SUITES for t in range(10) for s in range(3)])
    folds = make_folds(samples, "task", 5, 0)
    by_instruction: dict[str, set[int]] = {}
    for facts, role in zip(samples.episodes, folds.fold.tolist(), strict=True):
        by_instruction.setdefault(facts.instruction, set()).add(role)
    assert len(by_instruction) == 10
    assert all(len(found) == 1 for found in by_instruction.values())


def test_a_task_in_other_words_keeps_its_role():
    episodes = [
        episode(task=t, state=s, suite=suite, instruction=f"task {t}, worded {suite[15:]} {s % 3}")
        for suite in ("libero_spatial", "libero_spatial_language2")
        for t in range(8)
        for s in range(6)
    ]
    samples = gather_samples(episodes, SITE)
    roles = make_folds(samples, "task", 5, 0).fold
    by_task: dict[int, set[int]] = {}
    for facts, role in zip(samples.episodes, roles.tolist(), strict=True):
        by_task.setdefault(facts.key.task_id, set()).add(role)
    assert all(len(found) == 1 for found in by_task.values())
    assert len(np.unique(roles)) == 5 + 2


def test_positives_of_a_rare_motion_are_spread_over_all_roles():
    episodes = [
        episode([contact(40, {1: 1.0})] if s < 16 else [], task=s % 5, state=s) for s in range(80)
    ]
    samples = gather_samples(episodes, SITE)
    folds = make_folds(samples, "episode", 5, 0)
    positive = samples.risk[:, 2]
    assert [positive[part(samples)].sum() for part in (folds.calibrate, folds.threshold)] == [4, 4]
    spread = [positive[folds.test(k, samples)].sum() for k in range(5)]
    assert sum(spread) == 24
    assert max(spread) - min(spread) <= 2, "an episode has two positive queries"


def test_an_eighth_calibrates_and_an_eighth_sets_thresholds():
    samples = gather_samples([episode(task=s % 5, state=s) for s in range(80)], SITE)
    folds = make_folds(samples, "episode", 5, 0)
    for part in (folds.calibrate(samples), folds.threshold(samples)):
        assert part.mean() == 1 / 8
    assert [folds.test(k, samples).mean() for k in range(5)] == [12 / 80] * 5


def test_fewer_than_three_folds_are_refused():
    samples = gather_samples([episode(state=s) for s in range(8)], SITE)
    with pytest.raises(UserError, match="--folds=2: it takes at least 3"):
        make_folds(samples, "episode", 2, 0)


@pytest.mark.parametrize(("split", "usable"), [("episode", True), ("task", False)])
def test_a_motion_needs_positives_in_five_groups_of_the_split(split, usable):
    """Positives of x+ are in six scenes, but of one instruction."""
    episodes = [episode([contact(40, {0: 1.0})], state=s) for s in range(6)]
    episodes += [episode(task=t) for t in range(1, 8)]
    found, count = usable_motions(gather_samples(episodes, SITE), min_positive=10, split=split)
    assert count[0] == 12
    assert found[0] == usable
    assert not found[1:].any()
