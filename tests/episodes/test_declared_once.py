"""A field is declared once: a record with one more is stored, described and read back as it is."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from mist_jax.episodes.codec import decode_episode, encode_episode
from mist_jax.episodes.export.harmful_steps import HarmfulSteps
from mist_jax.episodes.rlds import RLDSSteps
from mist_jax.episodes.schema import RECORDS, Records, episode_features, metadata_features
from mist_jax.episodes.shards import commit_shards, write_shard
from mist_jax.record.column import column, columns_of
from mist_jax.record.contact import Contact
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.record.observation import Observation
from mist_jax.record.queries import Queries
from mist_jax.record.steps import Steps
from mist_jax.rollout.recording import Recording
from tests.episodes.test_episode_dataset import read_as_stranger
from tests.helpers.episode_samples import INFO, assert_equal, random_episode


@dataclass(frozen=True, kw_only=True)
class LongerSteps(Steps):
    torque: np.ndarray = field(metadata=column(np.float32, 2, name="observation/torque"))
    mass: np.ndarray = field(metadata=column(np.float32, "O", 3, name="objects/mass"))
    said: list[str] | tuple[str, ...] = field(metadata=column(str))


@dataclass(frozen=True, kw_only=True)
class LongerContact(Contact):
    slips: bool = field(metadata=column(np.bool_))
    friction: np.ndarray = field(metadata=column(np.float32, "A"))


@dataclass(frozen=True, kw_only=True)
class LongerQueries(Queries):
    noise: np.ndarray | None = field(metadata=column(np.float32, "C", "A", optional=True))


@dataclass(frozen=True, order=True, kw_only=True)
class LongerKey(EpisodeKey):
    robot: int = field(metadata=column(np.int64))


@dataclass(frozen=True, kw_only=True)
class LongerEpisode(Episode):
    operator: str = field(metadata=column(str))
    tags: tuple[str, ...] = field(metadata=column(str, "O"))


LONGER = Records(LongerEpisode, LongerKey, LongerSteps, LongerContact, LongerQueries)


def longer(seed: int = 0, *, queries: int = 2) -> LongerEpisode:
    """A random episode with one or two more fields in every record."""
    plain = random_episode(seed=seed, queries=queries)
    rng = np.random.default_rng(seed)
    length, objects = len(plain.steps), len(plain.object_names)
    return LongerEpisode(
        **{
            **vars(plain),
            "key": LongerKey(**vars(plain.key), robot=7),
            "steps": LongerSteps(
                **vars(plain.steps),
                torque=rng.normal(size=(length, 2)).astype(np.float32),
                mass=rng.normal(size=(length, objects, 3)).astype(np.float32),
                said=tuple(f"step {step}" for step in range(length)),
            ),
            "contacts": tuple(
                LongerContact(
                    **vars(one), slips=True, friction=rng.normal(size=7).astype(np.float32)
                )
                for one in plain.contacts
            ),
            "queries": LongerQueries(
                **vars(plain.queries),
                noise=rng.normal(size=(queries, INFO.chunk, 7)).astype(np.float32)
                if queries
                else None,
            ),
            "operator": "somebody",
            "tags": ("one", "two"),
        }
    )


@pytest.mark.parametrize("queries", [0, 2])
def test_a_further_field_of_any_record_is_read_back_bit_for_bit(queries: int):
    episode = longer(queries=queries)
    record = encode_episode(episode, INFO, LONGER)
    assert_equal(decode_episode(record, INFO, records=LONGER), episode)


@dataclass(frozen=True, kw_only=True)
class LaterEpisode(Episode):
    operator: str = field(default="nobody", metadata=column(str, later=True))


def test_records_of_before_there_was_a_column_say_what_it_would_have_held():
    plain = random_episode()
    read = decode_episode(encode_episode(plain, INFO), INFO, records=Records(LaterEpisode))
    assert isinstance(read, LaterEpisode)
    assert read.operator == "nobody"
    assert_equal(decode_episode(encode_episode(plain, INFO), INFO), plain)
    with pytest.raises(ValueError, match="operator' is missing"):
        decode_episode(encode_episode(plain, INFO), INFO, records=LONGER)


def test_stock_tfds_shows_a_further_field_of_any_record(tmp_path: Path):
    episode = longer()
    episode_features(INFO, LONGER).save_config(str(tmp_path))
    write_shard(tmp_path, 0, [encode_episode(episode, INFO, LONGER)])
    commit_shards(tmp_path, [1])
    (seen,) = read_as_stranger(tmp_path)
    assert seen["episode_metadata"]["operator"] == "somebody"
    assert seen["episode_metadata"]["tags"] == ["one", "two"]
    assert seen["episode_metadata"]["robot"] == 7
    slips = [flag for step in seen["steps"] for flag in step["contacts"]["slips"]]
    assert slips == [True] * len(episode.contacts)
    for index, step in enumerate(seen["steps"]):
        assert step["said"] == f"step {index}"
        torque, mass = episode.steps.torque, episode.steps.mass  # pyright: ignore
        np.testing.assert_array_equal(step["observation"]["torque"], torque[index])
        np.testing.assert_array_equal(step["objects"]["mass"], mass[index])
    for index, query in enumerate(seen["queries"]):
        np.testing.assert_array_equal(query["noise"], episode.queries.noise[index])  # pyright: ignore
    assert "noise" in seen["episode_metadata"]["query_fields"]


def test_a_worker_gathers_a_further_field_from_whoever_fills_it():
    observation = Observation(
        eef_pos=np.zeros(3),
        eef_quat=np.zeros(4),
        gripper_qpos=np.zeros(2),
        joint_pos=np.zeros(7),
        object_pose={"plate": np.arange(7.0), "bowl": np.arange(7.0) + 1},
    )
    recording = Recording(("bowl", "plate"), LongerSteps)
    values = {
        "action": np.zeros(7),
        "commanded": np.zeros(7),
        "perturbed": False,
        "reward": 0.0,
        "displacement": np.zeros(2),
        "grasped": -1,
        "torque": np.ones(2),
        "mass": np.ones((2, 3)),
    }
    with pytest.raises(TypeError, match=r"not so: said$"):
        recording.add(observation, keep_images=False, **values)
    with pytest.raises(TypeError, match=r"not so: weight$"):
        recording.add(observation, keep_images=False, **values, said="", weight=1.0)
    recording.add(observation, keep_images=False, **values, said="yes")
    steps = recording.steps()
    assert isinstance(steps, LongerSteps)
    np.testing.assert_array_equal(steps.torque, np.ones((1, 2), np.float32))
    assert steps.torque.dtype == np.float32
    np.testing.assert_array_equal(steps.object_pose[0, :, 0], [1, 0])
    assert Recording(("bowl",)).steps().object_pose.shape == (0, 1, 7)


def test_the_plain_form_has_no_column_of_varying_length():
    assert "object_names" not in metadata_features()
    assert not any(one.ragged for one in columns_of(Steps, ragged=False).values())
    assert any(one.ragged for one in columns_of(Steps).values())


@pytest.mark.parametrize(
    ("field_name", "values"),
    [("action", np.zeros((12, 6))), ("object_pose", np.zeros((12, 3, 6)))],
)
def test_a_value_of_another_shape_than_declared_is_not_stored(field_name: str, values: np.ndarray):
    episode = random_episode()
    steps = dataclasses.replace(episode.steps, **{field_name: values})
    with pytest.raises(ValueError, match=r"steps/.* is \[12, .*6\], not \[12, .*7\]"):
        encode_episode(dataclasses.replace(episode, steps=steps), INFO)


def test_no_two_columns_of_a_dataset_have_one_name():
    steps = (RECORDS.steps, RLDSSteps, HarmfulSteps)
    metadata = (RECORDS.key, RECORDS.episode)
    for records in (steps, metadata, (RECORDS.queries,), (RECORDS.contact,)):
        names = [one.name for record in records for one in columns_of(record).values()]
        assert len(names) == len(set(names))
