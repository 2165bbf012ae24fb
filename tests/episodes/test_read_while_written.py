"""A dataset can be read while a run goes on adding to it: what was there at the start is read."""

from pathlib import Path

import pytest

from mist_jax.episodes import shards, writer
from mist_jax.episodes.index import read_index
from mist_jax.episodes.reader import load_episodes, read_episodes, read_records
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from tests.helpers.episode_samples import INFO, random_episode, shards_of

EPISODES = [random_episode(seed=seed, steps=3, queries=1) for seed in range(8)]


def add(directory: Path, seeds: range) -> None:
    """One run that collects, and puts its shards together at its end."""
    with EpisodeWriter(directory, INFO) as dataset:
        for seed in seeds:
            dataset.append(EPISODES[seed])


def seeds_of(episodes) -> list[int]:
    return [episode.key.seed for episode in episodes]


@pytest.mark.parametrize("read", [1, 2, 3])
def test_shards_that_are_put_together_meanwhile_are_read_on(tmp_path: Path, read: int):
    with EpisodeWriter(tmp_path, INFO) as dataset:
        for seed in range(4):
            dataset.append(EPISODES[seed])
        reader = read_episodes(tmp_path)
        found = [next(reader) for _ in range(read)]
    assert len(shards_of(tmp_path)) == 1
    assert seeds_of([*found, *reader]) == [0, 1, 2, 3]


def test_a_shard_that_holds_other_episodes_by_now_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writer, "_EPISODES_PER_SHARD", 3)
    with EpisodeWriter(tmp_path, INFO) as dataset:
        dataset.append(EPISODES[0])
        dataset.append(EPISODES[1])
        reader = read_episodes(tmp_path)
        found = [next(reader)]
        for seed in range(2, 8):  # of which some lie where the second one lay
            dataset.append(EPISODES[seed])
        assert seeds_of([*found, *reader]) == [0, 1]


def test_a_second_folder_that_has_grown_since_ends_where_it_ended(tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    add(one, range(2))
    add(two, range(2, 4))
    reader = read_episodes(one, two)
    found = [next(reader)]
    add(two, range(4, 6))
    assert seeds_of([*found, *reader]) == [0, 1, 2, 3]
    assert seeds_of(load_episodes(one, two)) == [0, 1, 2, 3, 4, 5]


def test_a_folder_that_was_begun_anew_meanwhile_says_so(tmp_path: Path):
    add(tmp_path, range(3))
    entries = read_index(tmp_path)
    shards.commit_shards(tmp_path, ())
    with pytest.raises(UserError, match=r"fewer episodes.*another process writes to it"):
        list(read_records(tmp_path, entries))


def test_what_is_damaged_is_still_told_while_the_dataset_grows(tmp_path: Path):
    with EpisodeWriter(tmp_path, INFO) as dataset:
        for seed in range(3):
            dataset.append(EPISODES[seed])
        reader = read_episodes(tmp_path)
        next(reader)
        dataset.append(EPISODES[3])
        shard = shards_of(tmp_path)[1]
        whole = shard.read_bytes()
        shard.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError, match=rf"{shard.name}.*damaged"):
            list(reader)
        shard.write_bytes(whole)
