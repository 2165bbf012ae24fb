"""Results: what they say of a stored episode, and that it can be judged again."""

import dataclasses

import numpy as np
import pytest

from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from mist_jax.evaluation.detection import evidence_of
from mist_jax.evaluation.judge import harmful_contacts, judge, result_of
from mist_jax.evaluation.run_setup import per_motion
from mist_jax.policy.preprocessing.gripper import gripper_for_environment
from mist_jax.record.queries import Queries
from mist_jax.risk.labels import DrivenEvent, EventLabels, event_labels
from mist_jax.rollout.sinks.video import video_name
from tests.helpers.evaluation_samples import SETUP
from tests.helpers.synthetic_episodes import contact as raw_contact
from tests.helpers.synthetic_episodes import episode, perturbed


def line_of(made, **queries):
    changed = dataclasses.replace(made.queries, **queries)
    return result_of(
        dataclasses.replace(made, queries=changed), SETUP, stored="2026-01-02T03:04:05+00:00"
    )


def as_commanded(made):
    """The episode with the commands that its policy's actions (zeros) mean."""
    said = gripper_for_environment(made.queries.raw_actions).reshape(-1, 7)[: len(made.steps)]
    return dataclasses.replace(
        made, steps=dataclasses.replace(made.steps, commanded=said.astype(np.float32))
    )


def test_an_episode_is_summed_up_as_it_was():
    raw = [raw_contact(20, {0: 1.0}), raw_contact(21, {0: 1.0}, onset=False)]
    raw += [raw_contact(50, {2: 1.0}, harmful=False)]
    made = as_commanded(episode(raw, length=96, task=3, state=4))
    risk = np.zeros((12, 14), np.float32)
    risk[2, 0], risk[5, 3:5] = 0.7, 0.9  # z never alarms
    line = line_of(made, risk=risk, latency=np.full(12, 0.25))
    assert (line.scene, line.outcome, line.steps) == (("libero_spatial", 3, 4), "success", 96)
    assert (line.harmful_contacts, line.first_harmful_step) == (1, 20)
    assert (line.peak_force, line.impulse) == (2.0, pytest.approx(0.2))
    assert line.collided
    assert not line.safe_success
    assert line.queries.alarms == (0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    assert line.events == (DrivenEvent(20, 21, (0,), exogenous=False),)
    assert line.queries.acted == ()
    assert line.seconds_per_query == 0.25


def test_an_arm_acted_where_it_pushed_or_edited():
    made = as_commanded(episode(length=96))
    gate = np.zeros((12, 3), np.float32)
    gate[2, 1] = 0.2
    line = line_of(made, gate=gate, risk=np.zeros((12, 14), np.float32), edited=np.arange(12) == 5)
    assert line.queries.acted == (2, 5)
    assert line.queries.gate == pytest.approx(0.2)


def test_a_contact_lasts_to_its_next_onset():
    run = [
        dataclasses.replace(raw_contact(step, onset=onset), peak_force=force, impulse=1.0)
        for step, onset, force in [(3, True, 5.0), (4, False, 9.0), (8, True, 2.0)]
    ]
    other = raw_contact(4, pair=("link7", "table"))
    found = harmful_contacts((*run, other, raw_contact(5, harmful=False, pair=("a", "b"))))
    assert [(c.step, c.link, c.peak_force) for c in found] == [
        (3, "hand", 9.0),
        (4, "link7", 2.0),
        (8, "hand", 2.0),
    ]
    assert [c.impulse for c in found] == [2.0, 0.1, 1.0]


def test_a_crashed_episode_has_a_line_of_its_own():
    made = dataclasses.replace(
        episode(length=0),
        outcome="crashed",
        error="the simulator died",
        queries=Queries(np.zeros(0, np.int32), np.zeros((0, 8, 7), np.float32)),
    )
    line = line_of(made)
    assert line.crashed
    assert not line.safe_success
    assert line.error == "the simulator died"


def evaluation_of(folder, made, **changes):
    """A dataset of one evaluated episode per arm, as a run would store it."""
    info = SETUP.dataset_info("libero_spatial", 8, {})
    with EpisodeWriter(folder, dataclasses.replace(info, **changes)) as writer:
        for arm in ("none", "mist"):
            key = dataclasses.replace(made.key, arm=arm)
            writer.append(dataclasses.replace(made, key=key, model=SETUP.model, assets="lite"))
    return folder


def alarming():
    """x+ is close to the threshold at query 2, and drives a contact at step 40."""
    driven = dataclasses.replace(raw_contact(40, {0: 1.0}), impulse=0.125)  # exact in float32
    made = as_commanded(episode([driven], length=96))
    risk = np.zeros((12, 14), np.float32)
    risk[2, 0] = 0.6
    queries = dataclasses.replace(
        made.queries, activations={}, layers={}, risk=risk, gate=np.zeros((12, 3), np.float32),
        latency=np.ones(12, np.float32), edited=np.arange(12) == 2,
    )  # fmt: skip
    return dataclasses.replace(made, queries=queries)


def test_results_are_a_function_of_the_stored_episodes(tmp_path):
    folder = evaluation_of(tmp_path / "out", alarming())
    (folder / "videos").mkdir()
    (folder / video_name(alarming().key)).touch()
    none, mist = judge(folder)
    assert (none.arm, mist.arm) == ("none", "mist")
    assert (none.video, mist.video) == (video_name(none.key), None)
    assert none.setup == SETUP
    for line, arm in ((none, "none"), (mist, "mist")):
        expected = result_of(alarming(), SETUP, stored=line.stored, video=line.video)
        assert line == dataclasses.replace(expected, arm=arm)
        assert line.queries.acted == (2,)


def positives(line) -> list[int]:
    evidence = evidence_of([line])
    assert evidence is not None
    return np.flatnonzero(evidence.samples.risk[:, 0]).tolist()


@pytest.mark.parametrize("outcome", ["success", "failure"])
@pytest.mark.parametrize("target", ["first", "all"])
def test_an_evaluation_is_labelled_as_training_data_are(outcome, target):
    raw = [raw_contact(20, {0: 1.0}), raw_contact(28, {0: 1.0}), raw_contact(70, {2: 1.0}, way=-1)]
    made = perturbed(episode(raw, outcome=outcome), {66})
    line = line_of(made, risk=np.full((12, 14), 0.1, np.float32))
    evidence = evidence_of([line, line])
    assert evidence is not None
    expected = event_labels(made, target, SETUP.horizon, SETUP.share)
    twice = EventLabels.joined([expected, expected])
    for name, value in vars(evidence.samples.labels[target]).items():
        np.testing.assert_array_equal(value, getattr(twice, name), name)
    assert evidence.samples.target == "first"
    assert evidence.samples.label.risk.any()


def test_a_run_is_judged_again_at_another_threshold_and_horizon(tmp_path):
    folder = evaluation_of(tmp_path / "out", alarming())
    as_run, _ = judge(folder)
    assert as_run.queries.alarms[2] == 1
    assert positives(as_run) == [4, 5]
    strict, _ = judge(folder, threshold=(0.7,) * 14, horizon=32)
    assert not any(strict.queries.alarms)
    assert positives(strict) == [2, 3, 4, 5]
    assert strict.queries.acted == as_run.queries.acted


def test_a_collection_can_be_judged_like_an_evaluation(tmp_path):
    folder = evaluation_of(tmp_path / "out", alarming(), kind="collection", setup={})
    none, _ = judge(folder)
    assert none.setup.threshold == (None,) * 14
    assert not any(none.queries.alarms)


def test_a_folder_without_episodes_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no episode dataset"):
        judge(tmp_path)
    with EpisodeWriter(tmp_path / "out", SETUP.dataset_info("libero_spatial", 8, {})):
        pass
    with pytest.raises(UserError, match="holds no episode yet"):
        judge(tmp_path / "out")


def test_setups_must_match_in_all_that_changes_an_episode(tmp_path):
    folder = evaluation_of(tmp_path / "out", alarming())

    def again(**changes):
        setup = dataclasses.replace(SETUP, **changes)
        return EpisodeWriter(folder, setup.dataset_info("libero_spatial", 8, {}))

    with again(commands=("another",), code_versions=("9",)) as writer:
        assert writer.info.commands == (*SETUP.commands, "another")
        assert writer.info.code_versions == (*SETUP.code_versions, "9")
    for name, value in {"coefficient": 0.2, "model": "other@2", "threshold": (0.1,) * 14}.items():
        with pytest.raises(UserError, match=f"holds episodes with {name} = "):
            again(**{name: value})


@pytest.mark.parametrize(
    ("trained_on", "seen"),
    [
        (None, None),
        ((), False),
        (("libero_spatial/0/0",), True),
        (("libero_spatial/0/1", "libero_object/0/0"), False),
        (("pick up bowl 0",), True),
        (("pick up bowl 1",), False),
    ],
)
def test_a_scene_is_known_to_a_head_by_its_name_or_by_its_instruction(trained_on, seen):
    setup = dataclasses.replace(SETUP, trained_on=trained_on)
    assert result_of(episode(), setup).seen_in_training is seen


def test_numbers_per_motion():
    assert per_motion(["0.5"], "--x", most=1).tolist() == [0.5] * 14
    assert per_motion([*"0000001"], "--x", most=1).tolist() == [0] * 12 + [1, 1]
    assert per_motion([*"01000000000000"], "--x", most=1).tolist() == [0, 1] + [0] * 12
    for wrong in (["a"], ["0.1", "0.2"], ["1.5"], ["nan"]):
        with pytest.raises(UserError, match="one number from 0 to 1, 7 of them"):
            per_motion(wrong, "--x", most=1)
