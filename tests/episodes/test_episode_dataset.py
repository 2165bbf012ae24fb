"""Storage: what is written is what is read, by mist_jax and by stock tensorflow_datasets."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mist_jax.episodes.codec import decode_episode, encode_episode
from mist_jax.episodes.dataset_info import DatasetInfo, Site, load_info
from mist_jax.episodes.index import dataset_hash
from mist_jax.episodes.reader import load_episodes, read_episodes
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from tests.helpers.episode_samples import INFO, assert_equal, random_episode, shards_of

# Prints what a stranger sees: mist_jax cannot be imported, TensorFlow must not be needed.
_STRANGER = """
import json, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "mist_jax":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import tensorflow_datasets as tfds
source = tfds.builder_from_directory(sys.argv[1]).as_data_source(split="train")
def plain(value):
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list) or type(value).__name__ == "PythonDataSource":
        return [plain(part) for part in value]
    return value.tolist() if hasattr(value, "tolist") else value
print(json.dumps([plain(episode) for episode in source]))
assert "tensorflow" not in sys.modules
"""


def read_as_stranger(directory: Path) -> list[dict]:
    """The dataset as stock tensorflow_datasets gives it, in a process of its own."""
    command = [sys.executable, "-c", _STRANGER, str(directory)]
    result = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@st.composite
def datasets(draw: st.DrawFn) -> DatasetInfo:
    names = st.sampled_from(["llm.resid", "llm.mlp", "vision", "head"])
    sites = {
        name: Site(tuple(range(draw(st.integers(1, 3)))), draw(st.integers(1, 5)))
        for name in draw(st.sets(names))
    }
    return dataclasses.replace(
        INFO,
        sites=sites,
        chunk=draw(st.integers(1, 8)),
        images=draw(st.sampled_from(["none", "query", "step"])),
    )


@settings(max_examples=40)
@given(st.data(), datasets())
def test_an_episode_is_read_back_bit_for_bit(data: st.DataObject, info: DatasetInfo):
    steps = data.draw(st.integers(0, 6))
    episode = random_episode(
        info,
        data.draw(st.integers(0, 2**31)),
        steps=steps,
        queries=data.draw(st.integers(0, steps)),
        objects=data.draw(st.integers(0, 3)),
        contacts=data.draw(st.integers(0, 4)),
        optional=data.draw(st.booleans()),
        instruction=data.draw(st.text()),
    )
    record = encode_episode(episode, info)
    assert_equal(decode_episode(record, info, images=True), episode)


def test_a_dataset_is_read_back_in_order_across_shards(tmp_path: Path):
    episodes = [random_episode(seed=seed) for seed in range(70)]
    with EpisodeWriter(tmp_path, INFO) as writer:
        for episode in episodes:
            writer.append(episode)
    assert len(shards_of(tmp_path)) == 2
    for read, written in zip(read_episodes(tmp_path), episodes, strict=True):
        assert_equal(read, written)


@pytest.mark.parametrize("images", ["none", "query", "step"])
def test_stock_tfds_reads_everything_without_mist_jax(tmp_path: Path, images):
    info = dataclasses.replace(INFO, images=images, activation_dtype="float16")
    episodes = [
        random_episode(info, 0, instruction="stelle die Schüssel 碗"),
        random_episode(info, 1, queries=0, contacts=0),
        random_episode(info, 2, objects=0, optional=False),
    ]
    with EpisodeWriter(tmp_path, info) as writer:
        for episode in episodes:
            writer.append(episode)
    for seen, episode in zip(read_as_stranger(tmp_path), episodes, strict=True):
        assert seen["episode_metadata"]["seed"] == episode.key.seed
        assert seen["episode_metadata"]["object_names"] == list(episode.object_names)
        assert [step["is_last"] for step in seen["steps"]] == [False] * 11 + [True]
        contacts = [
            {"step": index, **contact}
            for index, step in enumerate(seen["steps"])
            for contact in _rows(step["contacts"])
        ]
        assert [c["robot_body"] for c in contacts] == [c.robot_body for c in episode.contacts]
        assert [c["step"] for c in contacts] == [c.step for c in episode.contacts]
        for index, step in enumerate(seen["steps"]):
            assert step["language_instruction"] == episode.instruction
            np.testing.assert_array_equal(step["action"], episode.steps.action[index])
            np.testing.assert_array_equal(
                np.reshape(step["objects"]["pose"], (-1, 7)), episode.steps.object_pose[index]
            )
            assert ("image" in step["observation"]) == (images == "step")
        for index, query in enumerate(seen["queries"]):
            for name, values in query["activations"].items():
                written = episode.queries.activations[name][index]
                np.testing.assert_allclose(values, written, rtol=1e-3, atol=1e-6)
        if images == "query":
            assert [f["step"] for f in seen["frames"]] == episode.queries.step.tolist()
            assert all(np.shape(f["wrist_image"]) == (16, 16, 3) for f in seen["frames"])


def _rows(columns: dict) -> list[dict]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_pictures_are_left_out_unless_asked_for(tmp_path: Path):
    info = dataclasses.replace(INFO, images="step")
    with EpisodeWriter(tmp_path, info) as writer:
        writer.append(random_episode(info))
    (without,), (with_,) = load_episodes(tmp_path), load_episodes(tmp_path, images=True)
    assert not without.steps.images
    assert set(with_.steps.images) == set(info.cameras)


def test_the_queries_pictures_come_from_the_steps_of_a_worker(tmp_path: Path):
    info = dataclasses.replace(INFO, images="query")
    episode = random_episode(info)
    bare = dataclasses.replace(episode.queries, images={})
    record = encode_episode(dataclasses.replace(episode, queries=bare), info)
    assert_equal(decode_episode(record, info, images=True), episode)


def test_activations_too_large_for_float16_are_refused():
    info = dataclasses.replace(INFO, activation_dtype="float16")
    episode = random_episode(info)
    episode.queries.activations["vision"][0, 0, 0] = 1e6
    with pytest.raises(ValueError, match="store them as float32"):
        encode_episode(episode, info)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"model": "other"}, "model"),
        ({"assets": "libero"}, "assets"),
        ({"object_names": ("one",)}, "object names"),
    ],
)
def test_an_episode_of_another_dataset_is_not_stored(change, what):
    with pytest.raises(ValueError, match=what):
        encode_episode(dataclasses.replace(random_episode(), **change), INFO)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_activations_are_read_at_the_precision_they_are_stored_in(tmp_path: Path, dtype):
    info = dataclasses.replace(INFO, activation_dtype=dtype)
    episode = random_episode(info)
    with EpisodeWriter(tmp_path, info) as writer:
        writer.append(episode)
    (read,) = load_episodes(tmp_path)
    for name, values in read.queries.activations.items():
        assert values.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(values, episode.queries.activations[name].astype(dtype))


def test_several_folders_are_read_as_one_dataset(tmp_path: Path):
    episodes = [random_episode(seed=seed) for seed in range(5)]
    for name, some in {"all": episodes, "a": episodes[:2], "b": episodes[2:]}.items():
        with EpisodeWriter(tmp_path / name, INFO) as writer:
            for episode in some:
                writer.append(episode)
    a, b = tmp_path / "a", tmp_path / "b"
    for read, written in zip(read_episodes(a, b), episodes, strict=True):
        assert_equal(read, written)
    assert dataset_hash(a, b) == dataset_hash(b, a) == dataset_hash(tmp_path / "all")
    assert dataset_hash(a) != dataset_hash(a, b)
    for use in (dataset_hash, load_episodes):
        with pytest.raises(UserError, match=r"is in .*all and in .*a; name only one"):
            use(tmp_path / "all", a)
        with pytest.raises(UserError, match="name only one"):
            use(a, a)


def test_the_hash_follows_content_not_order_or_shards(tmp_path: Path):
    def stored(name: str, seeds, **change) -> str:
        with EpisodeWriter(tmp_path / name, dataclasses.replace(INFO, **change)) as writer:
            for seed in seeds:
                writer.append(random_episode(seed=seed))
        return dataset_hash(tmp_path / name)

    first = stored("first", range(3))
    assert stored("reversed", reversed(range(3)), commands=("another",)) == first
    assert stored("less", range(2)) != first
    assert stored("other", range(3), min_force=2.0) != first


def test_what_is_no_dataset_is_said_in_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="holds no episode dataset"):
        load_info(tmp_path / "absent")
    (tmp_path / "dataset.json").write_text('{"info": {}}')
    with pytest.raises(UserError, match=r"dataset\.json is damaged"):
        load_info(tmp_path)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_record_names_its_file(tmp_path: Path, damage: str):
    with EpisodeWriter(tmp_path, INFO) as writer:
        for seed in range(3):
            writer.append(random_episode(seed=seed))
    (shard,) = shards_of(tmp_path)
    content = bytearray(shard.read_bytes())
    content[300] ^= 0xFF
    damaged = {"flip": bytes(content), "cut": bytes(content[:40_000]), "empty": b"", "gone": None}
    if damaged[damage] is None:
        shard.unlink()
    else:
        shard.write_bytes(damaged[damage])
    with pytest.raises(UserError, match=shard.name) as caught:
        load_episodes(tmp_path)
    assert "\n" not in str(caught.value)


def test_importing_and_using_storage_never_imports_tensorflow(tmp_path: Path):
    code = """
import sys, pathlib
import mist_jax.episodes.writer, mist_jax.episodes.reader, mist_jax.episodes.summary.files
assert "tensorflow_datasets" not in sys.modules, "imported before it is needed"
from tests.helpers.episode_samples import INFO, random_episode
directory = pathlib.Path(sys.argv[1])
with mist_jax.episodes.writer.EpisodeWriter(directory, INFO) as writer:
    writer.append(random_episode())
assert len(mist_jax.episodes.reader.load_episodes(directory)) == 1
assert "tensorflow" not in sys.modules
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
