"""A selection is a dataset like another: these tasks' episodes as they were, and no others."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from mist_jax.episodes.dataset_info import load_info, load_sidecar
from mist_jax.episodes.export import selection
from mist_jax.episodes.export.selection import select_episodes
from mist_jax.episodes.reader import load_episodes
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from tests.helpers.episode_samples import INFO, assert_equal, random_episode

TASKS = (0, 3, 0, 1, 3)


@pytest.fixture(scope="module")
def episodes():
    made = [random_episode(seed=seed, steps=3, queries=1) for seed in range(len(TASKS))]
    return [
        dataclasses.replace(one, key=dataclasses.replace(one.key, task_id=task))
        for one, task in zip(made, TASKS, strict=True)
    ]


@pytest.fixture
def data(tmp_path: Path, episodes) -> Path:
    with EpisodeWriter(tmp_path / "data", INFO) as writer:
        for episode in episodes:
            writer.append(episode)
    return tmp_path / "data"


def test_it_holds_the_episodes_of_these_tasks_as_they_were(data, tmp_path, episodes):
    heard = []
    target = tmp_path / "seen"
    count = select_episodes(
        data, target, (0, 1), command="copied so", progress=lambda *at: heard.append(at)
    )
    kept = load_episodes(target, images=True)
    assert count == len(kept) == 3
    assert heard == [(1, 3), (2, 3), (3, 3)]
    for ours, theirs in zip(kept, (episodes[0], episodes[2], episodes[3]), strict=True):
        assert_equal(ours, theirs)
    there = dataclasses.replace(load_info(target), commands=load_info(data).commands)
    assert there == load_info(data)
    assert load_info(target).commands[-1] == "copied so"
    assert set(load_sidecar(target)["summary"]["tasks"]) == {
        f"{episodes[0].key.suite}/task0",
        f"{episodes[0].key.suite}/task1",
    }


def test_stopped_on_the_way_it_leaves_nothing(data, tmp_path, monkeypatch):
    def stop(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(selection, "summarise_dataset", stop)
    with pytest.raises(KeyboardInterrupt):
        select_episodes(data, tmp_path / "seen", (0,))
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_tasks_that_are_not_there_and_a_folder_that_is_are_refused(data, tmp_path):
    with pytest.raises(UserError, match=r"no episode of these tasks; its tasks are 0, 1, 3"):
        select_episodes(data, tmp_path / "seen", (2,))
    with pytest.raises(UserError, match="exists already"):
        select_episodes(data, data, (0,))


def test_the_command_says_what_it_copied_and_refuses_in_one_line(data, tmp_path):
    command = [sys.executable, "-m", "experiments.select_episodes", f"--data_dir={data}"]
    command += [f"--save_dir={tmp_path / 'seen'}"]
    refused = subprocess.run([*command, "--task_ids=4"], capture_output=True, text=True)
    assert refused.returncode != 0
    assert refused.stderr.splitlines()[-1].endswith("there is no task 4: valid ids are 0 to 3")
    done = subprocess.run([*command, "--task_ids=0,3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"4 of 5 episodes: {tmp_path / 'seen'}"
    assert load_info(tmp_path / "seen").commands[-1].startswith("python -m experiments.select_ep")
