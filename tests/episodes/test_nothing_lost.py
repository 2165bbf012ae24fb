"""What has lost a file keeps the others, and no command writes over another one's work."""

import dataclasses
import json
from pathlib import Path

import pytest

from mist_jax.episodes import index, shards, writer
from mist_jax.episodes.reader import load_episodes
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from mist_jax.evaluation.run_setup import RunSetup
from mist_jax.output_folder import OutputKind, check_output
from tests.helpers.episode_samples import INFO, contents, random_episode

EVALUATION = dataclasses.replace(
    RunSetup(model=INFO.model, assets=INFO.assets).dataset_info("libero_spatial", 8, INFO.sites),
    camera_res=INFO.camera_res,
)


def dataset(folder: Path, info=INFO, episodes: int = 3) -> Path:
    with EpisodeWriter(folder, info) as store:
        for seed in range(episodes):
            store.append(random_episode(info, seed, steps=3, queries=1))
    return folder


@pytest.mark.parametrize(
    "lost",
    [
        ("dataset_info.json",),
        ("dataset.json",),
        ("dataset_info.json", "dataset.json"),
        ("dataset_info.json", "episodes.jsonl"),
        ("dataset_info.json", "dataset.json", "episodes.jsonl"),
        ("dataset_info.json", "dataset.json", "mist_episodes-train-00000.array_record"),
        ("episodes.jsonl",),
    ],
)
def test_a_dataset_without_its_description_is_refused_and_nothing_of_it_deleted(
    tmp_path: Path, lost: tuple[str, ...]
):
    dataset(tmp_path)
    for name in lost:
        (tmp_path / name).unlink()
    before = contents(tmp_path)
    for attempt in (lambda: EpisodeWriter(tmp_path, INFO), lambda: load_episodes(tmp_path)):
        with pytest.raises(UserError, match=r"restore|holds no episode dataset") as refusal:
            attempt()
        assert "\n" not in str(refusal.value)
        assert contents(tmp_path) == before


@pytest.mark.parametrize("merged", [True, False])
def test_an_older_description_does_not_delete_the_episodes_that_came_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merged: bool
):
    monkeypatch.setattr(writer, "_EPISODES_PER_SHARD", 2 if merged else 64)
    dataset(tmp_path, episodes=1)
    older = (tmp_path / "dataset_info.json").read_bytes()
    with EpisodeWriter(tmp_path, INFO) as store:
        for seed in (1, 2, 3):
            store.append(random_episode(seed=seed, steps=3, queries=1))
    (tmp_path / "dataset_info.json").write_bytes(older)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"4 lines of episodes\.jsonl, 1 counted"):
        EpisodeWriter(tmp_path, INFO)
    assert contents(tmp_path) == before


def test_partial_files_of_somebody_else_stay(tmp_path: Path):
    (tmp_path / "download.zip.partial").write_text("half")
    EpisodeWriter(tmp_path, INFO).close()
    assert (tmp_path / "download.zip.partial").read_text() == "half"


def test_a_collection_into_an_evaluations_folder_is_refused_and_the_reverse(tmp_path: Path):
    for there, run in ((INFO, EVALUATION), (EVALUATION, INFO)):
        folder = dataset(tmp_path / there.kind, there)
        (folder / "summary.json").write_text("{}")
        before = contents(folder)
        with pytest.raises(UserError, match=f"of a {there.kind}, not of a new {run.kind}"):
            EpisodeWriter(folder, run)
        assert contents(folder) == before
        assert len(load_episodes(folder)) == 3


KINDS: dict[OutputKind, str] = {
    "collection": "dataset.json",
    "evaluation": "dataset.json",
    "report": "report.html",
    "risk head": "risk_head/metadata.json",
    "steering bank": "steering_bank/metadata.json",
    "training run": "plan.json",
    "policy": "dataset_statistics.json",
}


def folder_of(path: Path, kind: OutputKind) -> Path:
    if kind in ("collection", "evaluation"):
        return dataset(path, INFO if kind == "collection" else EVALUATION, episodes=1)
    file = path / KINDS[kind]
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"kind": kind}))
    return path


@pytest.mark.parametrize("there", KINDS)
@pytest.mark.parametrize("new", [*KINDS, "analysis"])
def test_only_a_folder_of_the_same_kind_is_written_to(
    tmp_path: Path, there: OutputKind, new: OutputKind
):
    folder = folder_of(tmp_path / "out", there)
    if there == new or {there, new} == {"risk head", "steering bank"}:
        check_output(folder, new)
        return
    with pytest.raises(UserError, match=f"of a {there}, not of a new {new}"):
        check_output(folder, new)
    if new in ("collection", "evaluation"):
        before = contents(folder)
        with pytest.raises(UserError, match=f"of a {there}, not of a new"):
            EpisodeWriter(folder, INFO if new == "collection" else EVALUATION)
        assert contents(folder) == before
        assert (folder / ".lock").exists() == (there in ("collection", "evaluation"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [lines[0], lines[0], lines[2]], "seed0/none a second time"),
        (lambda lines: [*lines[:2], lines[2].replace('"outcome": "', '"outcome": "un')], "'un"),
        (lambda lines: [*lines[:2], lines[2].replace('"seed": 2', '"seed": "2"')], "seed = '2'"),
        (lambda lines: [*lines[:2], lines[2].replace("surplus", "plus")], "plus"),
        (lambda lines: [*lines[:2], "null"], "line 3"),
        (lambda lines: [*lines[:2], "[]"], "line 3"),
        (lambda lines: [*lines[:2], '"text"'], "line 3"),
        (lambda lines: [*lines[:2], "[" * 100_000], "line 3"),
    ],
)
def test_duplicate_keys_unknown_outcomes_and_other_types_in_an_index_are_refused(
    tmp_path: Path, change, message: str
):
    dataset(tmp_path)
    path = tmp_path / index.INDEX_FILE
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(UserError, match="damaged at line") as refusal:
        index.read_index(tmp_path)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("lengths", [[-1, 4], [3, 0], ["3", "-3"], [1.5, 1.5], [True] * 3, ["x"]])
def test_shard_lengths_that_are_no_positive_numbers_are_refused(tmp_path: Path, lengths: list):
    dataset(tmp_path)
    path = tmp_path / shards.TFDS_INFO_FILE
    values = json.loads(path.read_text())
    values["splits"][0]["shardLengths"] = lengths
    path.write_text(json.dumps(values))
    before = contents(tmp_path)
    for attempt in (shards.load_shards, lambda folder: EpisodeWriter(folder, INFO)):
        with pytest.raises(UserError, match=r"dataset_info\.json is damaged"):
            attempt(tmp_path)
    assert contents(tmp_path) == before
