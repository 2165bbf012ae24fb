"""Storage survives what happens to long runs: kills, full disks, second starts, other settings."""

import dataclasses
import datetime
import errno
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from mist_jax.episodes import index, shards, writer
from mist_jax.episodes.dataset_info import Site, load_info
from mist_jax.episodes.reader import load_episodes
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from tests.helpers.episode_samples import INFO, assert_equal, random_episode, shards_of

EPISODES = [random_episode(seed=seed, steps=3, queries=1) for seed in range(5)]


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "_EPISODES_PER_SHARD", 2)


def collect(directory: Path, acknowledge=lambda count: None) -> None:
    """What a collection does: skip what is there, store the rest."""
    with EpisodeWriter(directory, INFO) as dataset:
        there = dataset.keys()
        for episode in EPISODES:
            if episode.key not in there:
                dataset.append(episode)
                acknowledge(len(dataset.entries))


def killed_at(event: int, directory: Path) -> bool:
    """Collects in a child that kills itself just before its file operation number `event`.

    Returns:
        Whether it was killed; False if it finished before.
    """
    child = os.fork()
    if child == 0:
        counter = itertools.count()

        def deadly(operation):
            def counted(*args, **kwargs):
                if next(counter) == event:
                    os.kill(os.getpid(), signal.SIGKILL)
                return operation(*args, **kwargs)

            return counted

        os.fsync = deadly(os.fsync)
        for name in ("replace", "unlink", "write_bytes"):
            setattr(Path, name, deadly(getattr(Path, name)))
        with (directory.parent / "acknowledged").open("w", buffering=1) as file:
            collect(directory, lambda count: print(count, file=file))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
    return status != 0


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_kill_at_any_file_operation_loses_at_most_the_running_episode(
    tmp_path: Path, small_shards
):
    for event in itertools.count():
        directory = tmp_path / str(event) / "dataset"
        directory.parent.mkdir()
        killed = killed_at(event, directory)
        acknowledged = (directory.parent / "acknowledged").read_text().split()
        kept = sum(shards.load_shards(directory))
        assert len(acknowledged) <= kept <= len(acknowledged) + 1
        if kept:
            builder = tfds.builder_from_directory(str(directory))
            stock = builder.as_data_source("train")  # pyright: ignore[reportCallIssue]
            seeds = [episode["episode_metadata"]["seed"] for episode in stock]
            assert seeds == list(range(kept)), f"stock tfds after a kill at operation {event}"
            for read, written in zip(load_episodes(directory), EPISODES, strict=False):
                assert_equal(read, written)
        collect(directory)
        for read, written in zip(load_episodes(directory), EPISODES, strict=True):
            assert_equal(read, written)
        assert len(shards_of(directory)) <= 3
        assert not list(directory.glob("*.partial"))
        if not killed:
            break
    assert event > 50, "the child was never killed inside its work"


def test_the_same_command_again_stores_nothing_twice(tmp_path: Path):
    collect(tmp_path)
    before = {path.name: path.read_bytes() for path in shards_of(tmp_path)}
    collect(tmp_path)
    assert {path.name: path.read_bytes() for path in shards_of(tmp_path)} == before
    with (
        EpisodeWriter(tmp_path, INFO) as dataset,
        pytest.raises(ValueError, match="already in"),
    ):
        dataset.append(EPISODES[0])


@pytest.mark.parametrize(
    "change",
    [
        {"model": "another"},
        {"assets": "libero"},
        {"sites": {"llm.resid": Site((1,), 6)}},
        {"chunk": 4},
        {"camera_res": 32},
        {"images": "step"},
        {"activation_dtype": "float16"},
        {"min_force": 5.0},
        {"perturbation": "noop"},
        {"setup": {"render": "fast"}},
    ],
)
def test_a_folder_of_other_settings_is_refused_and_kept(tmp_path: Path, change: dict):
    collect(tmp_path)
    with pytest.raises(UserError, match=next(iter(change.get("setup", change)))):
        EpisodeWriter(tmp_path, dataclasses.replace(INFO, **change))
    assert len(load_episodes(tmp_path)) == len(EPISODES)


def test_the_index_says_when_an_episode_was_stored_and_the_hash_does_not_depend_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    collect(tmp_path / "first")
    after = datetime.datetime.now(datetime.UTC)
    for entry in index.read_index(tmp_path / "first"):
        stored = datetime.datetime.fromisoformat(entry.stored)
        assert before <= stored <= after
        assert stored.utcoffset() == datetime.timedelta()

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.datetime(2100, 1, 1, tzinfo=tz)

    with monkeypatch.context() as patch:
        patch.setattr(writer.datetime, "datetime", Later)
        collect(tmp_path / "second")
    (first, *_), (second, *_) = (index.read_index(tmp_path / n) for n in ("first", "second"))
    assert second.stored == "2100-01-01T00:00:00+00:00" != first.stored
    assert index.dataset_hash(tmp_path / "first") == index.dataset_hash(tmp_path / "second")


def test_a_setup_is_kept_as_it_is_and_must_be_equal_to_go_on(tmp_path: Path):
    info = dataclasses.replace(
        INFO, kind="evaluation", setup={"arms": ["none"], "threshold": [0.5, None]}
    )
    EpisodeWriter(tmp_path, info).close()
    EpisodeWriter(tmp_path, info).close()
    assert load_info(tmp_path) == info
    for setup in ({**info.setup, "threshold": [0.5, 0.5]}, {"arms": ["none"]}):
        with pytest.raises(UserError, match=r"threshold = \[0\.5, None\]"):
            EpisodeWriter(tmp_path, dataclasses.replace(info, setup=setup))


def test_another_suite_and_command_may_go_on_in_the_same_folder(tmp_path: Path):
    collect(tmp_path)
    run = dataclasses.replace(INFO, suites=("libero_object",), commands=("again",))
    EpisodeWriter(tmp_path, run).close()
    assert load_info(tmp_path).suites == ("libero_object", "libero_spatial")


def test_two_writers_never_share_a_folder(tmp_path: Path):
    with (
        EpisodeWriter(tmp_path, INFO),
        pytest.raises(UserError, match="another process is writing"),
    ):
        EpisodeWriter(tmp_path, INFO)
    EpisodeWriter(tmp_path, INFO).close()


def test_a_folder_of_another_dataset_is_left_alone(tmp_path: Path):
    (tmp_path / "dataset_info.json").write_text('{"name": "mnist", "splits": [{}]}')
    with pytest.raises(UserError, match="mnist"):
        EpisodeWriter(tmp_path, INFO)
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == [
        "dataset_info.json"
    ]


def test_a_full_disk_ends_in_one_line_and_loses_nothing(tmp_path: Path):
    # A limit on the size of files fails writes as a full disk does, inside ArrayRecord too.
    code = """
import pathlib, resource, sys
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from tests.helpers.episode_samples import INFO, random_episode
with EpisodeWriter(pathlib.Path(sys.argv[1]), INFO) as writer:
    writer.append(random_episode(seed=0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
    try:
        writer.append(random_episode(seed=1, steps=3000, queries=0))
    except UserError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    writer.append(random_episode(seed=2))
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "no space left to write" in result.stdout
    assert result.stdout.count("\n") == 1
    assert [episode.key.seed for episode in load_episodes(tmp_path)] == [0, 2]
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("operation", ["append_entry", "commit_shards"])
def test_a_disk_that_fills_between_two_files_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
):
    with EpisodeWriter(tmp_path, INFO) as dataset:
        dataset.append(EPISODES[0])

        def full(*args, **kwargs):
            if operation == "append_entry":
                index.append_entry(*args, **kwargs)  # the line is there, but half the truth
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(writer, operation, full)
            with pytest.raises(UserError, match="no space left"):
                dataset.append(EPISODES[1])
        dataset.append(EPISODES[2])
    assert [episode.key for episode in load_episodes(tmp_path)] == [
        EPISODES[0].key,
        EPISODES[2].key,
    ]


def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"):
        EpisodeWriter(tmp_path / "file" / "dataset", INFO)
