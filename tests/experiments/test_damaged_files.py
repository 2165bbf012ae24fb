"""Whatever stands in a file of JSON, or in its place: one line says so, and nothing is changed."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.episodes.index import read_index
from mist_jax.episodes.reader import load_episodes
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from mist_jax.loading import load_policy
from mist_jax.policy.checkpoint import read_card
from mist_jax.policy.preprocessing.statistics import read_statistics
from mist_jax.risk.study.checkpoint import (
    restore_risk_head,
    save_risk_head,
)
from mist_jax.steering.bank import BankMetadata, SteeringBank
from mist_jax.steering.checkpoint import restore_bank, save_bank
from mist_jax.steering.conceptors.bank import ConceptorBank
from mist_jax.steering.conceptors.checkpoint import restore_conceptors, save_conceptors
from mist_jax.steering.conceptors.fit import Conceptors
from mist_jax.steering.extraction import random_directions
from mist_jax.training.behaviour_cloning import CloningSpec
from mist_jax.training.train import Training, TrainingPlan
from tests.helpers.episode_samples import INFO, contents, random_episode
from tests.helpers.made_up_risk import made_up_risk
from tests.helpers.rollout_samples import SMALL, save_tiny_policy

ROOT = Path(__file__).parents[2]


def train(folder: Path) -> None:
    spec = CloningSpec(steps=1)
    Training(TrainingPlan("t", SMALL, spec, data_dirs=(folder / "data",), output_dir=folder))


# File -> what reads it. The folder is that of `whole`.
READERS: dict[str, Callable[[Path], Any]] = {
    "data/dataset.json": lambda folder: load_episodes(folder / "data"),
    "data/dataset_info.json": lambda folder: load_episodes(folder / "data"),
    "data/episodes.jsonl": lambda folder: load_episodes(folder / "data"),
    "policy/config.json": lambda folder: load_policy(folder / "policy"),
    "policy/dataset_statistics.json": lambda folder: load_policy(folder / "policy"),
    "risk/risk_head/metadata.json": lambda folder: restore_risk_head(folder / "risk"),
    "bank/steering_bank/metadata.json": lambda folder: restore_bank(folder / "bank"),
    "bank/conceptor_bank/metadata.json": lambda folder: restore_conceptors(folder / "bank"),
    "run/plan.json": lambda folder: train(folder / "run"),
}
# What needs no arrays, for many examples.
FAST: dict[str, Callable[[Path], Any]] = {
    **READERS,
    "data/dataset.json": lambda folder: read_index(folder / "data"),
    "data/dataset_info.json": lambda folder: read_index(folder / "data"),
    "data/episodes.jsonl": lambda folder: read_index(folder / "data"),
    "policy/config.json": lambda folder: read_card(folder / "policy"),
    "policy/dataset_statistics.json": lambda folder: read_statistics(
        folder / "policy" / "dataset_statistics.json"
    ),
}
del FAST["run/plan.json"]  # compared as a whole

DAMAGES: dict[str, bytes | None] = {
    "null": b"null",
    "list": b"[]",
    "text": b'"text"',
    "number": b"7",
    "empty object": b"{}",
    "list of null": b"[null]",
    "nothing": b"",
    "no JSON": b"{",
    "no text": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "a folder": None,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with EpisodeWriter(folder / "data", INFO) as store:
        for seed in range(3):
            store.append(random_episode(seed=seed, steps=3, queries=1))
    card = save_tiny_policy(folder / "policy")
    trained = made_up_risk(card.identity, SMALL.width, (0.5,) * 13 + (None,))
    save_risk_head(folder / "risk", trained)
    found = random_directions(SIGNED_MOTIONS, 2, SMALL.width, seed=0)
    norms = np.array([3.0, 3.0], np.float32)
    made = BankMetadata(layers=(2, 3), model=card.identity, horizon=16, share=0.25)
    save_bank(folder / "bank", SteeringBank.join([found], norms, SMALL.layers, made))
    rng = np.random.default_rng(0)
    soft = Conceptors(
        "conceptor", ("x+",), rng.normal(size=(1, 2, SMALL.width, 3)), np.ones((1, 2, 3)) / 2,
        np.zeros((1, 2, SMALL.width)),
    )  # fmt: skip
    save_conceptors(folder / "bank", ConceptorBank.join((soft,), SMALL.layers, made, {}))
    shutil.copytree(folder / "data", folder / "run" / "data")
    with pytest.raises(UserError, match="no camera images"):
        train(folder / "run")
    return folder


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", READERS)
def test_a_malformed_file_is_one_line_before_the_work_and_nothing_changes(
    whole: Path, tmp_path: Path, file: str, damage: str
):
    room = file.split("/")[0]
    shutil.copytree(whole / room, tmp_path / room)
    path, content = tmp_path / file, DAMAGES[damage]
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    before = contents(tmp_path)
    attempts = [READERS[file]]
    if room == "data":
        attempts.append(lambda folder: EpisodeWriter(folder / "data", INFO))
    for attempt in attempts:
        with pytest.raises(UserError) as refusal:
            attempt(tmp_path)
        assert "\n" not in str(refusal.value)
        assert path.name in str(refusal.value)
        assert contents(tmp_path) == before


def places(values: Any, path: tuple = ()) -> list[tuple]:
    """The paths of all values inside a JSON value."""
    if not isinstance(values, dict | list):
        return []
    inside = values.items() if isinstance(values, dict) else enumerate(values)
    return [p for key, value in inside for p in ((*path, key), *places(value, (*path, key)))]


ODD = st.sampled_from([None, [], {}, "text", "", -1, 0, 10**30, 1.5, True, [1] * 9, "remove"])


@pytest.mark.parametrize("file", FAST)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_single_value_of_another_kind_is_read_or_refused_in_one_line(
    whole: Path, file: str, data: st.DataObject
):
    path = whole / file
    kept = path.read_bytes()
    lines = kept.splitlines() if file.endswith("jsonl") else [kept]
    values = json.loads(lines[-1])
    *where, last = data.draw(st.sampled_from(places(values)))
    inner = values
    for key in where:
        inner = inner[key]
    value = data.draw(ODD)
    if value == "remove":
        del inner[last]
    else:
        inner[last] = value
    path.write_bytes(b"\n".join([*lines[:-1], json.dumps(values).encode()]))
    said = ""
    try:
        FAST[file](whole)
    except UserError as error:
        said = str(error)
    finally:
        path.write_bytes(kept)
    assert "\n" not in said


@pytest.mark.parametrize("what", ["action", "proprio"])
@pytest.mark.parametrize("length", [0, 1, 6, 9])
def test_statistics_of_the_wrong_length_are_refused_before_the_parameters_are_read(
    whole: Path, tmp_path: Path, what: str, length: int
):
    shutil.copytree(whole / "policy", tmp_path / "policy")
    shutil.rmtree(tmp_path / "policy" / "parameters")
    path = tmp_path / "policy" / "dataset_statistics.json"
    table = json.loads(path.read_text())
    table["made_up"][what] = {"q01": [-1.0] * length, "q99": [1.0] * length}
    path.write_text(json.dumps(table))
    with pytest.raises(UserError, match=f"{what} statistics of 'made_up' have {length} numbers"):
        load_policy(tmp_path / "policy")


@pytest.mark.parametrize("name", ["threshold", "usable", "n_positive"])
def test_a_head_whose_metadata_has_not_one_value_per_motion_is_refused(
    whole: Path, tmp_path: Path, name: str
):
    shutil.copytree(whole / "risk", tmp_path / "risk")
    path = tmp_path / "risk" / "risk_head" / "metadata.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, name: values[name][:-1]}))
    with pytest.raises(UserError, match=f"{name} has not 14 values"):
        restore_risk_head(tmp_path / "risk")


SAVERS = {
    "policy": "save_tiny_policy(out / 'policy')",
    "bank": "save_bank(out, big)",
    "figure": "save_figures(out, {'one': figure()})",
    "file": "replace_file(out / 'one.json', bytes(100_000))",
}


@pytest.mark.parametrize("saver", SAVERS)
def test_a_full_disk_leaves_no_partial_and_no_writing_and_the_old_one_stays(
    tmp_path: Path, saver: str
):
    # A limit on the size of files fails writes as a full disk does, inside Orbax too.
    code = f"""
import pathlib, resource, sys
import numpy as np
from matplotlib.figure import Figure
from mist_jax.disk import full_disk_is_clear, replace_file
from mist_jax.errors import UserError
from mist_jax.figures import save_figures
from mist_jax.steering.bank import BankMetadata, SteeringBank
from mist_jax.steering.checkpoint import save_bank
from mist_jax.steering.extraction import random_directions
from tests.helpers.made_up_risk import made_up_risk
from tests.helpers.rollout_samples import save_tiny_policy

def figure():
    made = Figure()
    made.subplots().imshow(np.random.default_rng(0).random((200, 200)))
    return made

out = pathlib.Path(sys.argv[1])
found = random_directions(("x+", "x-"), 2, 40_000, seed=0)
big = SteeringBank.join([found], np.ones(2, np.float32), 2, BankMetadata(layers=(0, 1)))
{SAVERS[saver]}
before = sorted(str(path) for path in out.rglob("*"))
resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, resource.RLIM_INFINITY))
try:
    with full_disk_is_clear(out):
        {SAVERS[saver]}
except UserError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert sorted(str(path) for path in out.rglob("*")) == before, "something was left or lost"
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    assert "no space left to write" in result.stdout
    assert result.stdout.count("\n") == 1


BINARIES = {
    "collect_failure_data": ["--model_name=expert", "--save_dir={}"],
    "run_evaluation": ["--interventions=none", "--output_dir={}"],
    "judge_evaluation": ["--data_dir={root}/data", "--output_dir={}"],
    "train_risk_predictor": ["--data_dir={root}/data", "--output_dir={}"],
    "extract_steering_vectors": ["--data_dir={root}/data", "--output_dir={}"],
    "analyze": ["--data_dir={root}/data", "--risk_head={root}/risk", "--output_dir={}"],
    "train_policy": ["--data_dir={root}/data", "--output_dir={}"],
}


def refused(binary: str, output: Path, root: Path) -> str:
    arguments = [one.format(output, root=root) for one in BINARIES[binary]]
    result = subprocess.run(
        [sys.executable, "-m", f"experiments.{binary}", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 1, result.stderr[-2000:]
    (line,) = result.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize("binary", BINARIES)
def test_every_binary_refuses_a_file_and_a_folder_of_another_kind_before_its_work(
    whole: Path, tmp_path: Path, binary: str
):
    (tmp_path / "file").write_text("")
    assert "is not a folder" in refused(binary, tmp_path / "file" / "out", whole)
    simulate = ("collect_failure_data", "run_evaluation")
    there = "risk" if binary in (*simulate, "judge_evaluation") else "data"
    before = contents(whole / there)
    assert "not of a new" in refused(binary, whole / there, whole)
    assert contents(whole / there) == before
