"""Collection: quotas, caps, initial states, resuming, and what a user sees of a mistake."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mist_jax.episodes.index import EpisodeEntry, read_index
from mist_jax.episodes.reader import load_episodes
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.attempts import Attempts, Quotas
from mist_jax.rollout.episode_spec import EpisodeSpec
from tests.helpers.episode_samples import random_episode

ROOT = Path(__file__).parents[2]
STATES = (0, 1, 2, 5)


def attempts(quotas, tasks=(0, 1), seed=0):
    return Attempts("libero_spatial", dict.fromkeys(tasks, STATES), seed, quotas, EpisodeSpec)


def ended(key: EpisodeKey, outcome: str):
    return dataclasses.replace(random_episode(), key=key, outcome=outcome)


def run(one, outcome_of, workers=1, stop_after=None):
    """Runs the attempts like the driver does; the ended episodes as (key, outcome, surplus)."""
    running, done = [], []
    while True:
        while len(running) < workers and (spec := one.draw(None)) is not None:
            running.append(spec.key)
        if not running or len(done) == stop_after:
            return done
        key = running.pop(0)
        outcome = outcome_of(key)
        done.append((key, outcome, one.settle(ended(key, outcome)).surplus))


OUTCOMES = st.lists(st.sampled_from(["success", "failure", "crashed"]), min_size=60, max_size=60)


@settings(max_examples=60)
@given(
    OUTCOMES,
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(1, 12),
    st.integers(1, 5),
    st.integers(0, 20),
)
def test_quotas_caps_and_states_hold_also_after_an_interruption(
    outcomes, n_success, n_failure, cap, workers, stop_after
):
    quotas = Quotas(cap, n_success, n_failure)
    drawn = iter(outcomes)
    first = run(attempts(quotas), lambda _: next(drawn), workers, stop_after)
    again = attempts(quotas)
    for key, outcome, _ in first:
        again.recall(EpisodeEntry(key, outcome, False, False, "", ""))
    done = first + run(again, lambda _: next(drawn), workers)
    assert again.missing == 0
    assert len({key for key, _, _ in done}) == len(done)
    for task in (0, 1):
        mine = [entry for entry in done if entry[0].task_id == task]
        kept = Counter(outcome for _, outcome, surplus in mine if not surplus)
        assert kept["success"] <= n_success
        assert kept["failure"] <= n_failure
        assert len(mine) <= cap
        full = kept["success"] == n_success and kept["failure"] == n_failure
        assert full or len(mine) == cap
        states = Counter(key.initial_state for key, _, _ in mine)
        assert max(states.values(), default=0) - min(states[s] for s in STATES) <= 1


def test_surplus_is_kept_and_marked():
    order = iter(["success", "success", "failure"])
    done = run(attempts(Quotas(10, 1, 1), tasks=(0,)), lambda _: next(order))
    assert [surplus for _, _, surplus in done] == [False, True, False]


def test_without_quotas_every_attempt_is_made():
    done = run(attempts(Quotas(6)), lambda _: "success", workers=4)
    assert len(done) == 12
    assert not any(surplus for _, _, surplus in done)
    assert len({key for key, _, _ in done}) == 12


BINARY = [sys.executable, "-m", "experiments.collect_failure_data"]


def collect(*arguments: str, check=True) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*BINARY, *arguments], cwd=ROOT, check=check, capture_output=True, text=True, timeout=400
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env=libero_bowls"], "valid ones are libero_spatial, "),
        (["--env=libero_goal"], "the lite assets hold libero_spatial, libero_object, "),
        (["--task_ids=3,12"], "there is no task 12: valid ids are 0 to 9"),
        (["--task_ids=3-x"], "neither an id nor a range"),
        (["--initial_states=60"], "there is no initial state 60"),
        (["--perturbation=push"], "value should be one of"),
        (["--perturbation=noop", "--perturbation_onset=9,3"], "the smaller number first"),
        (["--perturbation=noop", "--perturbation_onset=soon"], "give two numbers"),
        (["--n_success=0", "--n_failure=0"], "nothing to collect"),
        (["--n_success=-1"], "--n_success=-1"),
        (["--model_name=nowhere/at-all-7f3a"], "nowhere/at-all-7f3a"),
        (["--num_workers=0"], "--num_workers=0"),
    ],
)
def test_bad_flags_end_with_one_line_and_leave_nothing(tmp_path, arguments, message):
    folder = tmp_path / "data"
    result = collect(f"--save_dir={folder}", "--assets=lite", *arguments, check=False)
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert message in result.stderr
    assert not folder.exists()


@pytest.mark.libero
@pytest.mark.slow
def test_a_killed_collection_goes_on_where_it_stopped(tmp_path):
    arguments = [
        "--model_name=expert",
        "--assets=lite",
        "--phase1",
        "--n_episodes=4",
        "--task_ids=0,1",
        "--num_workers=2",
        "--perturbation=mixed",
        f"--save_dir={tmp_path / 'data'}",
    ]
    process = subprocess.Popen([*BINARY, *arguments], cwd=ROOT, stderr=subprocess.PIPE)
    index = tmp_path / "data" / "episodes.jsonl"
    deadline = time.monotonic() + 300
    while not index.exists() or len(index.read_bytes().splitlines()) < 3:
        assert process.poll() is None, process.stderr
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {entry.key: entry.sha256 for entry in read_index(tmp_path / "data")}
    collect(*arguments)
    after = {entry.key: entry.sha256 for entry in read_index(tmp_path / "data")}
    assert len(after) == 8
    assert before.items() <= after.items()
    episodes = load_episodes(tmp_path / "data")
    assert {(e.key.task_id, e.key.initial_state) for e in episodes} == {
        (task, state) for task in (0, 1) for state in range(4)
    }
    assert all(e.steps.perturbed.any() for e in episodes)
