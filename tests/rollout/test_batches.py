"""What an episode is does not depend on how many workers there are, nor on what its batch holds."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ray import cloudpickle

from mist_jax.episodes.reader import read_episodes
from mist_jax.rollout.acting.policy_actor import PolicyActor, default_batch_size
from mist_jax.rollout.episode_spec import Turn, WorkerConfig
from mist_jax.rollout.fleet import Fleet
from mist_jax.rollout.run import run_episodes
from mist_jax.rollout.source import Listed
from tests.helpers import rollout_samples
from tests.helpers.rollout_samples import (
    LONG_PROMPT,
    NOT_A_NUMBER,
    ScriptedWorker,
    inputs_of,
    spec,
)

SITE = "llm.resid"
ROOT = Path(__file__).parents[2]


def episodes_of(policy, folder, states, workers, batch_size):
    cloudpickle.register_pickle_by_value(rollout_samples)
    folder.mkdir()
    config = WorkerConfig(assets="lite", model=str(folder))
    actor = PolicyActor(policy, batch_size, sites=(SITE,))
    specs = [spec(state=state) for state in states]
    with Fleet(config, workers, worker_class=ScriptedWorker) as fleet:
        found = {one.key.initial_state: one for one in run_episodes(Listed(specs), fleet, actor)}
        assert fleet.replaced == 0
    return found


def assert_same(one, other):
    assert one.outcome == other.outcome == "failure"
    np.testing.assert_array_equal(one.steps.action, other.steps.action)
    np.testing.assert_array_equal(one.queries.raw_actions, other.queries.raw_actions)
    np.testing.assert_array_equal(one.queries.activations[SITE], other.queries.activations[SITE])


@pytest.mark.parametrize(
    "batch_size", [pytest.param(default_batch_size(), marks=pytest.mark.nightly), 3]
)
def test_every_episode_is_the_same_with_one_two_and_three_workers(policy, tmp_path, batch_size):
    states = (0, 1, 2, 3, LONG_PROMPT, 7)
    runs = [
        episodes_of(policy, tmp_path / str(workers), states, workers, batch_size)
        for workers in (1, 2, 3)
    ]
    for state in states:
        for run in runs[1:]:
            assert_same(runs[0][state], run[state])


def test_a_neighbour_with_a_longer_prompt_changes_nothing(policy):
    actor = PolicyActor(policy, 2, sites=(SITE,))
    short, long = (
        Turn(one.key, 0, inputs=inputs_of(one.key, 0)) for one in (spec(), spec(state=LONG_PROMPT))
    )
    together = actor.answer([long, short], [0, 0])
    for answer, turn in zip(together, (long, short), strict=True):
        [alone] = actor.answer([turn], [0])
        np.testing.assert_array_equal(answer.raw_actions, alone.raw_actions)
        np.testing.assert_array_equal(answer.activations[SITE], alone.activations[SITE])


_ASK = """
import sys
from absl import flags
from mist_jax.commands.flags import policy_flags, simulation_flags
flags.FLAGS(sys.argv)
print(policy_flags.batch_size())
"""


def test_the_batch_size_does_not_follow_the_number_of_workers():
    def asked(*given):
        command = [sys.executable, "-c", _ASK, *given]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        return subprocess.check_output(command, cwd=ROOT, text=True, env=environment).strip()

    assert asked("--num_workers=1") == asked("--num_workers=5") == "1"
    assert asked("--batch_size=4", "--num_workers=2") == "4"


def test_actions_that_are_not_numbers_end_that_episode_alone_and_name_the_cause(policy, tmp_path):
    states = (0, NOT_A_NUMBER, 1)
    found = episodes_of(policy, tmp_path / "broken", states, 2, 2)
    well = episodes_of(policy, tmp_path / "well", (0, 1), 2, 2)
    crashed = found.pop(NOT_A_NUMBER)
    assert crashed.outcome == "crashed"
    assert "at step 8 is not finite: raw_actions" in crashed.error
    assert len(crashed.queries) == 0
    for state, one in found.items():
        assert_same(one, well[state])


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.libero
def test_mist_nano_collects_the_same_episodes_with_one_and_two_workers(tmp_path):
    runs = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        command = [sys.executable, "-m", "experiments.collect_failure_data", "--assets=lite"]
        command += ["--n_success=4", "--n_failure=4", "--max_attempts_per_task=2", "--task_ids=0-1"]
        command += [f"--save_dir={folder}", f"--num_workers={workers}", "--layers=3"]
        subprocess.run(command, cwd=ROOT, check=True, timeout=900)
        runs.append({one.key: one for one in read_episodes(folder)})
    assert runs[0].keys() == runs[1].keys()
    assert len(runs[0]) == 4
    for key, one in runs[0].items():
        other = runs[1][key]
        assert one.outcome == other.outcome
        np.testing.assert_array_equal(one.steps.action, other.steps.action)
        np.testing.assert_array_equal(one.queries.raw_actions, other.queries.raw_actions)
        np.testing.assert_array_equal(
            one.queries.activations[SITE], other.queries.activations[SITE]
        )
