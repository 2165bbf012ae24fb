"""A study is run as it was written down, on scenes that nobody has chosen by."""

import dataclasses
import json
import resource
from pathlib import Path

import pytest

from mist_jax.errors import UserError
from mist_jax.evaluation.run_setup import RunSetup
from mist_jax.evaluation.study.choice import check_tuning, check_unseen
from mist_jax.evaluation.study.endpoint import primary_endpoints
from mist_jax.evaluation.study.opening import check_opening
from mist_jax.evaluation.study.preregistration import Preregistration
from tests.helpers.evaluation_samples import result
from tests.helpers.study_samples import UNSEEN, registered

ENDPOINTS = primary_endpoints()


def test_it_is_read_as_it_was_written_and_never_written_over(tmp_path):
    path = tmp_path / "preregistration.json"
    study = registered()
    study.write(path)
    assert Preregistration.read(path) == study
    assert json.loads(path.read_text())["digest"] == study.as_json()["digest"]
    before = path.read_bytes()
    with pytest.raises(UserError, match="never written over"):
        registered(seed=3).write(path)
    assert path.read_bytes() == before


def test_a_full_disk_leaves_no_part_of_it(tmp_path):
    path = tmp_path / "preregistration.json"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            registered().write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    registered().write(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "change",
    [
        {"level": 0.1},
        {"seed": 1},
        {"arms": ["none", "mist"]},
        {"scenes": {"0": "7000-7005"}},
        {"digest": "0" * 12},
        {"strange": 1},
    ],
)
def test_a_file_that_was_changed_afterwards_is_refused(tmp_path, change):
    path = tmp_path / "preregistration.json"
    registered().write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match="is not as plan_study writes it") as caught:
        Preregistration.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '{"digest": 3}'])
def test_what_is_no_preregistration_is_one_line(tmp_path, text):
    path: Path = tmp_path / "preregistration.json"
    path.write_text(text)
    with pytest.raises(UserError, match="is not as plan_study writes it"):
        Preregistration.read(path)
    with pytest.raises(UserError, match=r"write it with experiments\.plan_study"):
        Preregistration.read(tmp_path / "absent.json")


CHANGES = {
    "model": "other@2",
    "assets": "libero",
    "risk_head": "fff",
    "steering_vectors": "fff",
    "method": "linear",
    "conceptors": "fff",
    "coefficient": 0.2,
    "threshold": (0.5,) * 14,
    "causal_bank": "fff",
    "intent": "along_normal",
    "push": "exact",
    "rotation_coefficient": 0.1,
    "brake": 1.0,
    "halt": 1.0,
    "release": 3,
    "hold": 0.5,
    "equivalence_margin": 0.1,
    "horizon": 8,
    "share": 0.5,
    "min_force": 2.0,
    "camera_res": 128,
    "render": "fast",
    "perturbation": "noop (onset 1 to 2, length 1 to 2, strength 0.5 to 1.0)",
    "batch_size": 8,
    "dtype": "float8",
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_that_differs_in_anything_is_refused_by_name(name):
    study = registered()
    study.check(UNSEEN, study.initial_states)
    with pytest.raises(UserError, match=f"the preregistration has {name} = ") as caught:
        study.check(dataclasses.replace(UNSEEN, **{name: CHANGES[name]}), study.initial_states)
    assert "\n" not in str(caught.value)


def test_every_field_of_a_setup_is_fixed_or_only_says_how_it_was_called():
    called = {"commands", "code_versions", "policy_scenes", "trained_on", "preregistration"}
    earlier_runs = {"replay_from", "oracle_from"}  # of single exploratory arms
    names = {field.name for field in dataclasses.fields(RunSetup)}
    assert set(CHANGES) == names - called - earlier_runs == set(registered().setup)
    study = registered()
    changed = dataclasses.replace(
        UNSEEN, commands=("again",), code_versions=("2",), preregistration=study.as_json()
    )
    study.check(changed, study.initial_states)


def test_other_scenes_are_refused():
    study = registered(tasks=2)
    for states in ({0: (7000,)}, {**study.initial_states, 2: (7000,)}, {}):
        with pytest.raises(UserError, match="names other scenes"):
            study.check(UNSEEN, states)


def test_every_registered_scene_is_run_once_with_every_arm():
    study = registered(tasks=2, states=3)
    keys = list(study.keys("mist"))
    assert len(keys) == len(set(keys)) == 6
    assert {(key.arm, key.seed, key.suite) for key in keys} == {("mist", 0, "libero_spatial")}
    assert study.n_episodes == 3


@pytest.mark.parametrize("state", [5000, 6999, 7000, 8999])
def test_steered_arms_meet_scenes_to_report_on_in_a_registered_study_alone(state):
    states = {3: (1000, state)}
    check_opening(states, ("none",), registered=False)
    check_opening(states, ("none", "mist"), registered=True)
    check_opening({3: (0, 1000, 4999)}, ("none", "mist"), registered=False)
    with pytest.raises(UserError, match=rf"mist on the (sealed|study) scene {state} of task 3"):
        check_opening(states, ("none", "mist"), registered=False)


def test_what_was_tuned_on_scenes_to_report_on_is_refused():
    good = [result(arm, state=1000) for arm in ("none", "placebo", "mist")]
    check_tuning(good, ENDPOINTS)
    with pytest.raises(UserError, match="has met the sealed scene 5000"):
        check_tuning([*good, result("mist", state=5000)], ENDPOINTS)
    with pytest.raises(UserError, match="no episode of the arm placebo"):
        check_tuning([one for one in good if one.arm != "placebo"], ENDPOINTS)
    other = dataclasses.replace(good[0], suite="libero_object")
    with pytest.raises(UserError, match="several suites"):
        check_tuning([*good, other], ENDPOINTS)


def test_scenes_that_were_trained_on_are_refused():
    tuned = result("mist", state=1000, setup=UNSEEN)
    check_unseen("libero_spatial", {0: (7000, 7001)}, tuned)
    with pytest.raises(UserError, match="the scene 1000 of task 0 is not one to report on"):
        check_unseen("libero_spatial", {0: (1000,)}, tuned)
    saw = dataclasses.replace(UNSEEN, trained_on=("libero_spatial/0/7001",))
    with pytest.raises(UserError, match="the risk head was trained on the scene 7001 of task 0"):
        check_unseen("libero_spatial", {0: (7000, 7001)}, dataclasses.replace(tuned, setup=saw))
    saw = dataclasses.replace(UNSEEN, policy_scenes=("libero_spatial/0-29,7000",))
    with pytest.raises(UserError, match="the policy was trained on the scene 7000"):
        check_unseen("libero_spatial", {0: (7000, 7001)}, dataclasses.replace(tuned, setup=saw))
