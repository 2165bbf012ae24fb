"""What is published: public files alone, whole or not at all, and loaded again as the card says."""

import dataclasses
import shutil
import types
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import (
    HfHubHTTPError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]
    LocalTokenNotFoundError,
)

import mist_jax
from mist_jax.episodes.dataset_info import load_info
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from mist_jax.evaluation.study.preregistration import Preregistration
from mist_jax.loading import MIST_NANO_FOLDER
from mist_jax.policy.checkpoint import CONFIG, is_policy
from mist_jax.publishing.facts import without_paths
from mist_jax.publishing.package import CARD, Package, pack
from mist_jax.publishing.push import push
from mist_jax.steering.bank import BankMetadata, Directions, SteeringBank
from mist_jax.steering.checkpoint import save_bank
from mist_jax.weights import hub as downloads
from tests.helpers.episode_samples import INFO, assert_equal, random_episode
from tests.helpers.made_up_risk import made_up_risk
from tests.helpers.study_samples import registered

REPO = "lab/thing"
RISK = made_up_risk("toy@1", 8, (0.5, None, *[0.9] * 12))


class StubHub:
    """A hub of one repository: commits are whole or not at all, as the real one's."""

    def __init__(self, there: tuple[str, ...] = (), error: Exception | None = None):
        self.files: dict[str, bytes] = dict.fromkeys(there, b"older")
        self.created: list[dict[str, Any]] = []
        self.error = error

    def create_repo(self, repo_id: str, **options: Any) -> None:
        self.created.append({"repo_id": repo_id, **options})

    def list_repo_files(self, repo_id: str, **options: Any) -> list[str]:
        return list(self.files)

    def create_commit(self, repo_id: str, operations: Any, **options: Any) -> str:
        files = dict(self.files)
        for one in operations:
            if isinstance(one, CommitOperationDelete):
                del files[one.path_in_repo]
            else:
                assert isinstance(one, CommitOperationAdd)
                with one.as_file() as content:
                    files[one.path_in_repo] = content.read()
        if self.error is not None:  # after all was sent, before it counts
            raise self.error
        self.files = files
        return "https://hub/commit/1"

    def download(self, folder: Path) -> Path:
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder


def policy(folder: Path) -> Path:
    return Path(shutil.copytree(MIST_NANO_FOLDER, folder / "policy"))


def risk_head(folder: Path) -> Path:
    mist_jax.save_risk_head(folder / "risk", RISK)
    (folder / "risk" / "table.md").write_text("## New scenes\n\n| head | .9 |\n\n## Details\n\nx")
    return folder / "risk"


def bank(folder: Path) -> Path:
    found = Directions("contrast", ("x+", "z-"), np.ones((2, 2, 4), np.float32) / 2)
    metadata = BankMetadata(layers=(1, 2), model="toy@1", dataset_hash="abc", code_version="1")
    save_bank(folder / "steering", SteeringBank.join([found], np.ones(2), 3, metadata))
    return folder / "steering"


def dataset(folder: Path) -> Path:
    home = Path.home()
    commands = (f"mist-jax collect_failure_data --save_dir={home}/secret/data --seed=1",)
    with EpisodeWriter(folder / "data", dataclasses.replace(INFO, commands=commands)) as writer:
        for seed in range(3):
            writer.append(random_episode(INFO, seed))
    return folder / "data"


MADE = {"policy": policy, "risk head": risk_head, "steering bank": bank, "dataset": dataset}
each_kind = pytest.mark.parametrize("kind", MADE)


@each_kind
def test_private_files_beside_and_inside_are_not_published(tmp_path: Path, kind: str):
    folder = MADE[kind](tmp_path)
    clean = set(pack(folder, REPO).files)
    inside = {path.parent for path in folder.rglob("*") if path.is_file()}
    for place in (*inside, folder / ".ssh", folder / "state" / "d"):
        place.mkdir(parents=True, exist_ok=True)
        for name in (".env", "id_rsa", "notes.txt", ".lock", "token", "deed.pdf.bak"):
            (place / name).write_text("secret")
    package = pack(folder, REPO)
    assert set(package.files) == clean
    package.write(tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or b"secret" not in path.read_bytes(), path


@each_kind
def test_the_card_says_what_it_is_and_how_to_load_it(tmp_path: Path, kind: str):
    card = pack(MADE[kind](tmp_path), REPO).files[CARD]
    assert isinstance(card, bytes)
    _, front, text = card.decode().split("---\n", 2)
    told = yaml.safe_load(front)
    assert told["license"] == "mit"
    assert {"robotics", "mist_jax", kind.replace(" ", "-")} <= set(told["tags"])
    assert f"This is a {kind}." in text
    assert REPO in text.partition("## How it was made")[0]
    assert str(Path.home()) not in text.replace("/root", str(Path.home()))


@each_kind
def test_a_push_brings_the_files_of_the_folder_byte_for_byte(tmp_path: Path, kind: str):
    folder, hub = MADE[kind](tmp_path), StubHub((".gitattributes",))
    package = pack(folder, REPO)
    assert push(package, REPO, hub, private=True) == "https://hub/commit/1"
    (options,) = hub.created
    assert options["private"]
    assert options["repo_type"] == ("dataset" if kind == "dataset" else "model")
    package.write(tmp_path / "out")
    for name in package.files:
        assert hub.files[name] == (tmp_path / "out" / name).read_bytes()
        if name not in (CARD, "dataset.json"):
            assert hub.files[name] == (folder / name).read_bytes()
    assert ".gitattributes" in hub.files


@each_kind
def test_a_push_that_breaks_off_changes_nothing_and_the_next_one_is_whole(tmp_path, kind: str):
    package = pack(MADE[kind](tmp_path), REPO)
    hub = StubHub(error=HTTPError("the line is down"))
    with pytest.raises(UserError, match=r"the line is down.*run the same command again"):
        push(package, REPO, hub)
    assert hub.files == {}
    hub.error = None
    push(package, REPO, hub)
    assert set(hub.files) == set(package.files)


def test_files_of_an_earlier_push_that_are_gone_are_taken_away(tmp_path: Path):
    old = "mist_episodes-train-00007.array_record"
    hub = StubHub((old, "LICENSE"))
    push(pack(dataset(tmp_path), REPO), REPO, hub)
    assert old not in hub.files
    assert "LICENSE" in hub.files


def test_a_repository_of_something_else_is_left_alone(tmp_path: Path):
    hub = StubHub(("model.safetensors",))
    with pytest.raises(UserError, match=r"holds model\.safetensors.*name a new repository"):
        push(pack(dataset(tmp_path), REPO), REPO, hub)
    assert set(hub.files) == {"model.safetensors"}


def forbidden() -> HfHubHTTPError:
    response: Any = types.SimpleNamespace(status_code=403, headers={}, request=None)
    return HfHubHTTPError("forbidden", response=response)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (LocalTokenNotFoundError("no token"), "hf auth login"),
        (forbidden(), "token that may write"),
    ],
)
def test_without_a_login_one_line_says_how_to_get_one(tmp_path: Path, error, said: str):
    with pytest.raises(UserError, match=said):
        push(pack(bank(tmp_path), REPO), REPO, StubHub(error=error))


@pytest.mark.parametrize("name", ["thing", "a/b/c", "../x", "lab/", ""])
def test_what_names_no_repository_is_refused(tmp_path: Path, name: str):
    with pytest.raises(UserError, match="give user/name"):
        push(Package(None, {}), name, StubHub())  # pyright: ignore[reportArgumentType]


def test_folders_of_no_kind_or_of_two_are_refused(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="there is no folder"):
        pack(tmp_path / "nowhere", REPO)
    with pytest.raises(UserError, match="is no policy, risk head, steering bank or dataset"):
        pack(tmp_path / "empty", REPO)
    with pytest.raises(UserError, match="name the folder that holds it"):
        pack(risk_head(tmp_path) / "risk_head", REPO)
    shutil.copytree(bank(tmp_path) / "steering_bank", tmp_path / "risk" / "steering_bank")
    with pytest.raises(UserError, match="holds a risk head and a steering bank"):
        pack(tmp_path / "risk", REPO)


@each_kind
def test_damaged_files_are_not_pushed(tmp_path: Path, kind: str):
    folder = MADE[kind](tmp_path)
    files = pack(folder, REPO).files
    largest = max((one for one in files.values() if isinstance(one, Path)), key=_size)
    content = bytearray(largest.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(byte ^ 255 for byte in content[middle : middle + 64])
    largest.write_bytes(content)
    with pytest.raises(UserError):
        pack(folder, REPO)


def _size(path: Path) -> int:
    return path.stat().st_size


def test_folders_that_a_preregistration_names_are_not_published_unasked(tmp_path: Path):
    command = "mist-jax run_evaluation --risk_head=/home/me/secret/risk"
    study = registered(planned={"tuning_commands": [command]}).as_json()
    info = dataclasses.replace(INFO, kind="evaluation", setup={"preregistration": study})
    with EpisodeWriter(tmp_path / "data", info) as writer:
        writer.append(random_episode(info, 0))
    with pytest.raises(UserError, match=r"names folders .*/home/me/secret/risk.*--keep_paths"):
        pack(tmp_path / "data", REPO)
    package = pack(tmp_path / "data", REPO, keep_paths=True)
    package.write(tmp_path / "out")
    kept = load_info(tmp_path / "out").setup["preregistration"]
    assert Preregistration.from_json(kept).as_json() == study


def test_a_preregistration_without_folders_is_published_with_its_digest(tmp_path: Path):
    study = registered(planned={"tuning_commands": ["mist-jax run_evaluation --risk_head=risk"]})
    info = dataclasses.replace(INFO, kind="evaluation", setup={"preregistration": study.as_json()})
    with EpisodeWriter(tmp_path / "data", info) as writer:
        writer.append(random_episode(info, 0))
    pack(tmp_path / "data", REPO).write(tmp_path / "out")
    kept = load_info(tmp_path / "out").setup["preregistration"]
    assert Preregistration.from_json(kept) == study


def test_other_peoples_weights_need_their_licence(tmp_path: Path):
    folder = policy(tmp_path)
    text = (folder / CONFIG).read_text()
    trained, converted = '"trained_by": "train_policy"', '"converted_from": "open/vla"'
    (folder / CONFIG).write_text(text.replace(trained, converted))
    with pytest.raises(UserError, match="--license"):
        pack(folder, REPO)
    card = pack(folder, REPO, license="llama2").files[CARD]
    assert isinstance(card, bytes)
    told = yaml.safe_load(card.decode().split("---\n")[1])
    assert told["license"] == "llama2"
    assert told["base_model"] == "open/vla"


def test_a_pushed_policy_is_loaded_by_its_hub_id(tmp_path: Path, monkeypatch):
    hub = StubHub()
    push(pack(policy(tmp_path), REPO), REPO, hub)
    asked = []

    def snapshot_download(hub_id: str, **options: Any) -> str:
        asked.append((hub_id, options["allow_patterns"]))
        return str(hub.download(tmp_path / "cache"))

    monkeypatch.setattr(downloads, "snapshot_download", snapshot_download)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    loaded = mist_jax.load_policy(REPO)
    assert loaded.identity == mist_jax.load_policy("mist-nano").identity
    assert [hub_id for hub_id, _ in asked] == [REPO, REPO]
    assert asked[0][1] == [CONFIG]  # before anything large
    assert is_policy(tmp_path / "cache")


def test_heads_banks_and_datasets_are_read_from_what_was_pushed(tmp_path: Path):
    got = {}
    for kind in ("risk head", "steering bank", "dataset"):
        hub = StubHub()
        push(pack(MADE[kind](tmp_path), REPO), REPO, hub)
        got[kind] = hub.download(tmp_path / f"got {kind}")
    head, _ = mist_jax.restore_risk_head(got["risk head"])
    assert head.layer == RISK.head.layer
    vectors = mist_jax.restore_bank(got["steering bank"]).vectors
    assert jnp.array_equal(vectors, mist_jax.restore_bank(tmp_path / "steering").vectors)
    stored = mist_jax.load_episodes(tmp_path / "data")
    for one, other in zip(mist_jax.load_episodes(got["dataset"]), stored, strict=True):
        assert_equal(one, other)


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("run --save_dir=/home/ann/project/data --seed=1", "run --save_dir=data --seed=1"),
        ("run --data_dir=/a/b,/c/d/ --x='/e/f g'", "run --data_dir=b,d --x='f g'"),
        ("run --save_dir=~/project/data", "run --save_dir=data"),
        ("run --data_dir=runs/data --lr=1e-3", "run --data_dir=runs/data --lr=1e-3"),
        ("python -m experiments.collect --hub=moojink/oft", None),
    ],
)
def test_commands_are_told_without_the_places_of_this_machine(typed: str, shown: str | None):
    assert without_paths(typed) == (typed if shown is None else shown)
