"""The summary of a dataset agrees with a recount of its raw contacts."""

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from rich.console import Console

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.episodes.reader import load_episodes
from mist_jax.episodes.summary.counts import FORCE_EDGES, summarise
from mist_jax.episodes.summary.figure import summary_table
from mist_jax.episodes.summary.files import summarise_dataset
from mist_jax.episodes.writer import EpisodeWriter
from tests.helpers.episode_samples import INFO, random_episode
from tests.helpers.synthetic_episodes import contact, episode, perturbed


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dataset")
    with EpisodeWriter(directory, INFO) as writer:
        for seed in range(20):
            writer.append(random_episode(seed=seed, task=seed % 3, contacts=seed % 6))
    return directory


def test_the_summary_agrees_with_the_raw_contacts_as_stock_tfds_reads_them(dataset: Path):
    links, dimensions, onsets, harmful, outcomes = (Counter() for _ in range(5))
    forces = []
    builder = tfds.builder_from_directory(str(dataset))
    for stored in builder.as_data_source("train"):  # pyright: ignore[reportCallIssue]
        metadata = stored["episode_metadata"]
        task = f"{metadata['suite'].decode()}/task{metadata['task_id']}"
        outcomes[task, metadata["outcome"].decode()] += 1
        touched = False
        for step in stored["steps"]:
            contacts = step["contacts"]
            for row, is_harmful in enumerate(contacts["harmful"]):
                if not is_harmful:
                    continue
                touched = True
                forces.append(contacts["peak_force"][row])
                if contacts["onset"][row]:
                    onsets[task] += 1
                    links[contacts["robot_body"][row].decode()] += 1
                    shares = zip(ACTION_DIMENSIONS, contacts["share"][row], strict=True)
                    driving = [name for name, share in shares if share >= 0.25]
                    dimensions.update(driving or ["none"])
        harmful[task] += touched
    summary = summarise(load_episodes(dataset))
    assert summary.episodes == 20
    assert sum(onsets.values()) > 5, "the sample has nothing to count"
    for name, task in summary.tasks.items():
        assert task.onsets == onsets[name]
        assert task.harmful == harmful[name]
        assert task.outcomes == {key: outcomes[name, key] for key in task.outcomes}
    assert summary.links == links
    assert {name: count for name, count in summary.dimensions.items() if count} == dimensions
    edges = [*FORCE_EDGES, float("inf")]
    bins = itertools.pairwise(edges)
    assert summary.forces == tuple(sum(low <= f < high for f in forces) for low, high in bins)
    assert summary.peak_force == pytest.approx(max(forces))


def test_the_summary_is_stored_with_the_dataset(dataset: Path):
    summary = summarise_dataset(dataset)
    stored = json.loads((dataset / "dataset.json").read_text())
    assert stored["summary"]["links"] == summary.links
    assert stored["info"]["model"] == INFO.model
    assert (dataset / "summary.png").read_bytes().startswith(b"\x89PNG")


def test_events_are_counted_beside_onsets_and_those_of_a_perturbation_marked():
    bouncing = [contact(20), contact(24), contact(60), contact(60, pair=("link7", "stove"))]
    pushed = perturbed(episode(bouncing), {58})
    later = episode([contact(44, pair=("link7", "stove")), contact(44)], state=1)
    (task,) = summarise([pushed, later, episode(state=2)]).tasks.values()
    assert (task.onsets, task.harmful) == (6, 2)
    assert (task.events, task.exogenous_events) == (5, 2)
    assert (task.first_events, task.exogenous_first_events) == (3, 0)
    (task,) = summarise([perturbed(later, {44})]).tasks.values()
    assert (task.events, task.exogenous_events, task.exogenous_first_events) == (2, 2, 2)


def test_the_table_shows_every_task_and_the_total(dataset: Path):
    summary = summarise(load_episodes(dataset))
    console = Console(width=200, record=True, file=(dataset / "table").open("w"))
    console.print(summary_table(summary))
    text = console.export_text()
    assert all(name in text for name in summary.tasks)
    assert "20" in text[text.index("total") :]


def test_an_empty_dataset_has_a_summary(tmp_path: Path):
    EpisodeWriter(tmp_path, INFO).close()
    assert summarise_dataset(tmp_path).episodes == 0
    assert (tmp_path / "summary.png").exists()
