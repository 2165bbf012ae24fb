"""Lines of results: what they say of an episode, and that no interruption damages them."""

import dataclasses
import os

import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.evaluation.results import EpisodeResult, harmful_contacts, result_of
from mist_jax.evaluation.results_file import RESULTS_FILE, ResultsFile, read_results
from mist_jax.evaluation.run_setup import per_dimension
from mist_jax.policy.preprocessing.gripper import gripper_for_environment
from mist_jax.record.queries import Queries
from tests.helpers.evaluation_samples import SETUP, result, study
from tests.helpers.synthetic_episodes import contact as raw_contact
from tests.helpers.synthetic_episodes import episode


def line_of(made, **queries):
    changed = dataclasses.replace(made.queries, **queries)
    return result_of(
        dataclasses.replace(made, queries=changed), SETUP, finished="2026-01-02T03:04:05+00:00"
    )


def as_commanded(made):
    """The episode with the commands that its policy's actions (zeros) mean."""
    said = gripper_for_environment(made.queries.raw_actions).reshape(-1, 7)[: len(made.steps)]
    return dataclasses.replace(
        made, steps=dataclasses.replace(made.steps, commanded=said.astype(np.float32))
    )


def test_a_line_is_its_result():
    for made in (study()[5], result(outcome="crashed"), result(error="a\u2028b\nc")):
        assert "\n" not in made.as_line()
        assert EpisodeResult.from_line(made.as_line()) == made


def test_an_episode_is_summed_up_as_it_was():
    raw = [raw_contact(20, {0: 1.0}), raw_contact(21, {0: 1.0}, onset=False)]
    raw += [raw_contact(50, {2: 1.0}, harmful=False)]
    made = as_commanded(episode(raw, length=96, task=3, state=4))
    risk = np.zeros((12, 7), np.float32)
    risk[2, 0], risk[5, 1:3] = 0.7, 0.9  # z never alarms
    line = line_of(made, risk=risk, latency=np.full(12, 0.25))
    assert (line.scene, line.outcome, line.steps) == (("libero_spatial", 3, 4), "success", 96)
    assert (line.harmful_contacts, line.first_harmful_step) == (1, 20)
    assert (line.peak_force, line.impulse) == (2.0, pytest.approx(0.2))
    assert line.collided
    assert not line.safe_success
    assert line.queries.alarms == (0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    assert line.queries.due == ((1, 0, 12), (2, 0, 4))
    assert line.queries.acted == ()
    assert line.seconds_per_query == 0.25


def test_what_an_arm_changed_is_measured_not_assumed():
    made = as_commanded(episode(length=96))
    made.steps.commanded[40:48, 0] = 0.5  # not what the policy said at query 5
    gate = np.zeros((12, 3), np.float32)
    gate[2, 1] = 0.2
    line = line_of(made, gate=gate, risk=np.zeros((12, 7), np.float32))
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


@pytest.mark.parametrize("left", [1, 7, 300])
def test_a_torn_last_line_is_cut_off_and_the_rest_kept(tmp_path, left):
    with ResultsFile(tmp_path) as file:
        file.append(result(state=0))
        file.append(result(state=1))
    path = tmp_path / RESULTS_FILE
    whole = path.read_bytes()
    path.write_bytes(whole + result(state=2).as_line().encode()[:left])
    assert [r.initial_state for r in read_results(tmp_path)] == [0, 1]
    with ResultsFile(tmp_path) as file:
        assert [r.initial_state for r in file.results] == [0, 1]
        file.append(result(state=2))
    assert [r.initial_state for r in read_results(tmp_path)] == [0, 1, 2]
    assert path.read_bytes().startswith(whole)


def test_a_full_disk_leaves_whole_lines(tmp_path, monkeypatch):
    with ResultsFile(tmp_path) as file:
        file.append(result(state=0))
        write = os.write

        def full(descriptor, data):
            if len(data) < 500:
                raise OSError(28, "No space left on device")
            return write(descriptor, data[:-400])

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(UserError, match="no space left"):
            file.append(result(state=1))
    assert [r.initial_state for r in read_results(tmp_path)] == [0]


def test_one_process_at_a_time(tmp_path):
    with ResultsFile(tmp_path), pytest.raises(UserError, match="another process"):
        ResultsFile(tmp_path)


@pytest.mark.parametrize("damage", [b"{}\n", b"\xff\xfe\n", b'{"suite": 3}\n'])
def test_a_damaged_line_is_named(tmp_path, damage):
    with ResultsFile(tmp_path) as file:
        file.append(result())
    with (tmp_path / RESULTS_FILE).open("ab") as file:
        file.write(damage)
    with pytest.raises(UserError, match="line 2"):
        read_results(tmp_path)


def test_setups_must_match_in_all_that_changes_an_episode():
    changed = dataclasses.replace(SETUP, command="another", code_version="9")
    SETUP.check_continues(changed, "out")
    for name, value in {"coefficient": 0.2, "model": "other@2", "threshold": (0.1,) * 7}.items():
        with pytest.raises(UserError, match=f"out holds episodes with {name}"):
            SETUP.check_continues(dataclasses.replace(SETUP, **{name: value}), "out")


def test_numbers_per_dimension():
    assert per_dimension(["0.5"], "--x", most=1).tolist() == [0.5] * 7
    assert per_dimension([*"0000001"], "--x", most=1)[6] == 1
    for wrong in (["a"], ["0.1", "0.2"], ["1.5"], ["nan"]):
        with pytest.raises(UserError, match="one number from 0 to 1, or 7"):
            per_dimension(wrong, "--x", most=1)
