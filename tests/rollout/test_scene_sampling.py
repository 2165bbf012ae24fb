"""Sampling scenes: the first good ones are accepted, in any order of ends and after any stop."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.episodes.index import EpisodeEntry, read_index
from mist_jax.errors import UserError
from mist_jax.extensions import VARIABLE
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.rollout.episode_spec import EpisodeSpec, Turn
from mist_jax.rollout.scenes.sampling import SamplingPlan, sample_scenes
from mist_jax.rollout.scenes.trials import SceneTrials
from mist_jax.simulator.environment.environment import Environment
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.libero.initial_state_choice import choose_initial_states
from mist_jax.simulator.libero.scene_table import SceneTable
from mist_jax.simulator.libero.suites import find_suite, load_task
from tests.helpers.episode_samples import random_episode

ROOT = Path(__file__).parents[2]
INFO = DatasetInfo(model="expert", assets="lite", suites=("libero_spatial",))
GOOD, HARMFUL, FAILED, CRASHED, FLEW_OFF = range(5)


def ended(spec: EpisodeSpec, how: int) -> Episode:
    """An episode that ended so; a harmful one is a success with a harmful contact."""
    episode = random_episode(dataclasses.replace(INFO, sites={}), queries=0, steps=3)
    contacts = tuple(
        dataclasses.replace(contact, harmful=how == HARMFUL) for contact in episode.contacts
    )
    outcome = {FAILED: "failure", CRASHED: "crashed"}.get(how, "success")
    poses = np.zeros_like(episode.steps.object_pose)
    poses[2:, 1, 1] = 0.3 if how == FLEW_OFF else 0.009  # m
    return dataclasses.replace(
        episode,
        key=spec.key,
        outcome=outcome,
        contacts=contacts,
        perturbation="none",
        steps=dataclasses.replace(episode.steps, object_pose=poses),
    )


class InstantFleet:
    """Ends its episodes in some order, as `how_of` their keys; stops the run after a number."""

    def __init__(self, how_of, workers=1, newest_first=False, stop_after=1000):
        self.num_workers, self.replaced = workers, 0
        self._how_of, self._at, self._left = how_of, -1 if newest_first else 0, stop_after
        self._specs: list[EpisodeSpec] = []
        self._loaded = None
        self.ran: list[EpisodeKey] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    @property
    def idle_tasks(self):
        return [self._loaded] * (self.num_workers - len(self._specs))

    def wake(self):
        return None

    def start(self, spec):
        assert spec.acting == "expert"
        assert spec.perturbation is None
        assert spec.images == "none"
        self._specs.append(spec)
        self._loaded = spec.task

    def wait(self):
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        spec = self._specs.pop(self._at)
        self.ran.append(spec.key)
        return [Turn(spec.key, 3, episode=ended(spec, self._how_of(spec.key)))]


def plan(folder: Path, **changes) -> SamplingPlan:
    made = SamplingPlan(folder, INFO, "libero_spatial", (0, 2), "tuning", 3, max_attempts=12)
    return dataclasses.replace(made, **changes)


def how(key: EpisodeKey) -> int:
    """Every third scene of task 0 is good, and every one of task 2 but the first four."""
    if key.task_id == 2:
        return GOOD if key.initial_state % 1000 >= 4 else HARMFUL + key.initial_state % 1000
    return GOOD if key.initial_state % 3 == 0 else FAILED


def sample(one: SamplingPlan, fleet: Any) -> Path:
    return sample_scenes(one, lambda: fleet)


def scenes_of(folder: Path, **fleet) -> dict:
    return json.loads(sample(plan(folder), InstantFleet(how, **fleet)).read_text())


def told(capfd) -> str:
    """What was written on standard error since the last time, in one line."""
    return " ".join(capfd.readouterr().err.split())


def test_the_first_good_scenes_are_accepted_and_no_other(tmp_path):
    made = scenes_of(tmp_path / "a")
    assert made["tuning"] == {"0": "1002,1005,1008", "2": "1004-1006"}
    tried = [entry.key.initial_state for entry in read_index(tmp_path / "a")]
    assert tried == [*range(1000, 1009), *range(1000, 1007)]
    # Whatever the number of workers, and the order in which they end.
    assert scenes_of(tmp_path / "b", workers=8, newest_first=True) == made


def test_a_stopped_run_goes_on_and_writes_no_table_before_its_end(tmp_path):
    whole = scenes_of(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        scenes_of(tmp_path / "cut", workers=2, stop_after=14)
    assert not (tmp_path / "cut" / "scenes.json").exists()
    before = {entry.key for entry in read_index(tmp_path / "cut")}
    assert len(before) == 14
    rest = InstantFleet(how)
    table = sample(plan(tmp_path / "cut"), rest)
    assert json.loads(table.read_text()) == whole
    assert not before & set(rest.ran)
    # And with nothing missing no worker is started.
    sample_scenes(plan(tmp_path / "cut"), lambda: pytest.fail("started"))


def test_other_tasks_and_other_pools_stay_in_the_table(tmp_path):
    folder = tmp_path / "out"
    sealed = plan(folder, pool="sealed", task_ids=(1,), n_scenes=2)
    sample(plan(folder), InstantFleet(how))
    sample(sealed, InstantFleet(lambda _: GOOD))
    pools = SceneTable.read(folder / "scenes.json").pools
    assert pools == {
        "tuning": {0: (1002, 1005, 1008), 2: (1004, 1005, 1006)},
        "sealed": {1: (5000, 5001)},
        "study": {},
    }


def test_what_is_told_counts_the_scenes_of_this_pool_and_of_these_tasks_alone(tmp_path, capfd):
    folder = tmp_path / "out"
    sample(plan(folder), InstantFleet(how))
    capfd.readouterr()
    sealed = plan(folder, pool="sealed", n_scenes=2)
    with pytest.raises(KeyboardInterrupt):
        sample(sealed, InstantFleet(lambda _: GOOD, stop_after=1))
    assert told(capfd).endswith("1 accepted")
    sample(sealed, InstantFleet(lambda key: key.initial_state - 5000))
    ends = "2 crashed, 2 failure, 2 harmful contact, 2 not still"
    assert told(capfd).endswith(f"4 accepted, {ends}")


def test_too_few_good_scenes_are_told_by_task_and_not_written(tmp_path):
    short = plan(tmp_path / "out", max_attempts=7)
    with pytest.raises(UserError, match=r"3 wanted, with 7 tried: task 0 2; raise"):
        sample(short, InstantFleet(how, workers=3))
    assert not (tmp_path / "out" / "scenes.json").exists()
    assert scenes_of(tmp_path / "out")["tuning"]["0"] == "1002,1005,1008"


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(range(5)), min_size=10, max_size=10),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(0, 10),
    st.randoms(use_true_random=False),
)
def test_accepted_are_the_first_good_ones_in_any_order_also_after_a_stop(
    ends, wanted, workers, stop_after, order
):
    good = [1000 + index for index, end in enumerate(ends) if end == GOOD]
    running, stored = [], []
    for limit in (stop_after, 1000):
        known = {entry.key for entry in stored if entry.key.initial_state in good}
        trials = SceneTrials("s", (4,), range(1000, 1010), wanted, 0, EpisodeSpec, known)
        for entry in stored:
            trials.recall(entry)
        running = []
        for _ in range(limit):
            while len(running) < workers and (spec := trials.draw(None)) is not None:
                running.append(spec)
            if not running:
                break
            spec = running.pop(order.randrange(len(running)))
            episode = trials.settle(ended(spec, ends[spec.key.initial_state - 1000]))
            outcome, harmful = episode.outcome, episode.collided
            stored.append(EpisodeEntry(spec.key, outcome, False, harmful, "", ""))
    assert trials.missing == 0
    assert trials.accepted == {4: tuple(good[:wanted])}
    assert len({entry.key for entry in stored}) == len(stored)
    last = good[wanted - 1] if len(good) >= wanted else 1009
    assert sorted(e.key.initial_state for e in stored) == list(range(1000, last + 1))


SUITE = """
from pathlib import Path
from mist_jax.simulator.libero.suite import Suite, TaskFiles

HERE = Path(__file__).parent
FILES = (TaskFiles("far", "put the bowl on the plate", HERE / "far.bddl", HERE / "none.npy"),)
KINDS = ("libero", "lite")
SUITES = (
    Suite("far", lambda: FILES, max_steps=150, asset_kinds=KINDS, scenes=HERE / "out/scenes.json"),
)
"""


@pytest.mark.nightly
@pytest.mark.libero
@pytest.mark.slow
def test_a_scene_out_of_the_arms_reach_is_rejected(tmp_path, monkeypatch):
    """A bowl that is drawn near the arm in some scenes, and at the table's far corner in others."""
    (tmp_path / "far_suite.py").write_text(SUITE)
    scene = load_task("libero_spatial", 0).bddl_file.read_text()
    between = "(-0.06 0.19 -0.04 0.21)"
    assert scene.count(between) == 1
    either = "(-0.12 0.02 -0.10 0.04) (0.38 0.46 0.40 0.48)"
    (tmp_path / "far.bddl").write_text(scene.replace(between, either))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [sys.executable, "-m", "experiments.sample_scenes", "--extensions=far_suite"]
    command += ["--env=far", "--pool=sealed", "--n_scenes=6", "--num_workers=1", "--assets=lite"]
    done = subprocess.run(
        [*command, f"--output_dir={tmp_path / 'out'}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(VARIABLE, "far_suite")
    accepted = choose_initial_states(find_suite("far"), (0,), "sealed")[0]
    tried = sorted(entry.key.initial_state for entry in read_index(tmp_path / "out"))
    environment = Environment(
        load_task("far", 0), find_assets("lite", allow_download=False), render="none"
    )
    bowl = environment.model.joint("akita_black_bowl_1_joint0").qposadr[0]
    x = {index: environment.initial_state(index)[1 + bowl] for index in tried}
    assert max(x.values()) > 0.3  # one was out of reach
    assert accepted == tuple(index for index in tried if x[index] < 0)
