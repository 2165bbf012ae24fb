"""What is pushed: the public files of one folder, and the card that is made for them."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import DatasetCardData, ModelCardData

from mist_jax.disk import whole_folder
from mist_jax.episodes.dataset_info import INFO_FILE
from mist_jax.errors import UserError
from mist_jax.publishing.facts import Facts, facts_of, without_paths
from mist_jax.publishing.kind import Kind, kind_of

CARD = "README.md"
_LICENSE = "mit"


@dataclass(frozen=True)
class Package:
    """Files by their path in the repository: where they are here, or what they hold."""

    kind: Kind
    files: dict[str, Path | bytes]

    def size(self) -> int:
        """Bytes of all files."""
        return sum(
            len(one) if isinstance(one, bytes) else one.stat().st_size
            for one in self.files.values()
        )

    def write(self, folder: Path) -> None:
        """Writes the repository as a folder, whole or not at all.

        Raises:
            UserError: there is something already, or the disk is full.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} exists already; remove it or name another folder")
        with whole_folder(folder) as beside:
            for name, content in self.files.items():
                path = beside / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(content, bytes):
                    path.write_bytes(content)
                else:
                    shutil.copyfile(content, path)


def pack(
    folder: Path,
    repo_id: str,
    *,
    license: str = "",
    verify: bool = True,
    keep_paths: bool = False,
) -> Package:
    """What would be pushed of a folder.

    Args:
        folder: a policy, or what a command wrote.
        repo_id: where it will be, such as user/name: the card says how to load it from there.
        license: its identifier on the hub; default MIT, of what was made here.
        verify: read every file and compare it with its digest.
        keep_paths: publish a preregistration although it names folders of this machine.

    Raises:
        UserError: the folder is of no kind that is published or is damaged, its weights are others'
            and no licence is named, or its preregistration names folders.
    """
    kind = kind_of(folder)
    facts = facts_of(folder, kind, verify=verify)
    if facts.base_model and not license:
        raise UserError(
            f"{folder} holds the weights of {facts.base_model}, whose licence holds: name it with "
            "--license, such as --license=mit"
        )
    files: dict[str, Path | bytes] = {**kind.files_of(folder)}
    if INFO_FILE in files:
        files[INFO_FILE] = _public_info(folder / INFO_FILE, keep_paths)
    files[CARD] = card_of(facts, kind, repo_id, license or _LICENSE).encode()
    return Package(kind, files)


def card_of(facts: Facts, kind: Kind, repo_id: str, license: str) -> str:
    """The README.md of a repository, with its YAML front matter."""
    tags = ["robotics", "mist_jax", kind.name.replace(" ", "-"), *facts.tags]
    if kind.repo_type == "dataset":
        front = DatasetCardData(
            license=license, tags=tags, task_categories=["robotics"], viewer=False
        )
    else:
        base = facts.base_model if facts.base_model.count("/") == 1 else None
        front = ModelCardData(
            license=license,
            tags=tags,
            library_name="mist_jax",
            pipeline_tag="robotics",
            base_model=base,
        )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mist_jax.publishing", ""),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
    )
    text = environment.get_template("card.md.j2").render(
        front=front.to_yaml(), facts=facts, kind=kind.name, repo_id=repo_id
    )
    return text.rstrip() + "\n"


def _public_info(path: Path, keep_paths: bool) -> bytes:
    """A dataset's description without the paths that its commands were typed with."""
    sidecar = json.loads(path.read_bytes())
    info = sidecar["info"]
    info["commands"] = [without_paths(one) for one in info["commands"]]
    # Its digest holds for every letter, so nothing of a preregistration can be cut.
    named = [
        one for one in _texts(info["setup"].get("preregistration")) if without_paths(one) != one
    ]
    if named and not keep_paths:
        raise UserError(
            f"{path} holds a preregistration that names folders of this machine ({named[0]}), and "
            "that cannot be changed: --keep_paths publishes it as it is"
        )
    return (json.dumps(sidecar, indent=1, ensure_ascii=False) + "\n").encode()


def _texts(value: Any) -> Iterator[str]:
    """Every text within JSON values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)
