"""The kinds of folders that can be published, and the only files of each that ever are."""

import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mist_jax.checkpoint import ARRAYS, METADATA
from mist_jax.episodes.dataset_info import INFO_FILE
from mist_jax.episodes.index import INDEX_FILE
from mist_jax.episodes.shards import DATASET_NAME, TFDS_INFO_FILE
from mist_jax.errors import UserError
from mist_jax.policy.checkpoint import CONFIG, PARAMETERS, STATISTICS, TOKENIZER, is_policy
from mist_jax.risk.study.checkpoint import FOLDER as RISK_HEAD
from mist_jax.risk.study.report import METRICS, TABLE
from mist_jax.steering.causal.checkpoint import FOLDER as CAUSAL_BANK
from mist_jax.steering.checkpoint import FOLDER as STEERING_BANK
from mist_jax.steering.conceptors.checkpoint import FOLDER as CONCEPTOR_BANK

KindName = Literal["policy", "risk head", "steering bank", "dataset"]
BANKS = (CAUSAL_BANK, STEERING_BANK, CONCEPTOR_BANK)
# What Orbax writes, by name: nothing else that may lie in its folder is published.
_DATA = "[0-9a-f]" * 32
_ORBAX = (
    *("_CHECKPOINT_METADATA", "_METADATA", "_sharding", "commit_success.txt", "manifest.ocdbt"),
    *("array_metadatas/process_[0-9]*", f"d/{_DATA}"),
    *("ocdbt.process_[0-9]*/manifest.ocdbt", f"ocdbt.process_[0-9]*/d/{_DATA}"),
)


def _checkpoint(folder: str) -> tuple[str, ...]:
    return (f"{folder}/{METADATA}", *(f"{folder}/{ARRAYS}/{name}" for name in _ORBAX))


@dataclass(frozen=True)
class Kind:
    """One kind: `files` are patterns of paths in the folder, part by part, all that is published.

    `repo_type` is the hub's word for it.
    """

    name: KindName
    repo_type: Literal["model", "dataset"]
    files: tuple[str, ...]

    def takes(self, path: str) -> bool:
        """Whether a path (with "/") is that of a file of this kind."""
        return any(_matches(path, pattern) for pattern in self.files)

    def files_of(self, folder: Path) -> dict[str, Path]:
        """The files of a folder that are published, by their path in it."""
        found = {str(p.relative_to(folder).as_posix()): p for p in sorted(folder.rglob("*"))}
        return {name: path for name, path in found.items() if self.takes(name) and path.is_file()}


POLICY = Kind(
    "policy",
    "model",
    (CONFIG, STATISTICS, TOKENIZER, *(f"{PARAMETERS}/{name}" for name in _ORBAX)),
)
HEAD = Kind("risk head", "model", (METRICS, TABLE, *_checkpoint(RISK_HEAD)))
BANK = Kind("steering bank", "model", tuple(f for bank in BANKS for f in _checkpoint(bank)))
DATASET = Kind(
    "dataset",
    "dataset",
    (
        *(INFO_FILE, TFDS_INFO_FILE, INDEX_FILE, "features.json", "summary.png", "branches.json"),
        f"{DATASET_NAME}-train-[0-9][0-9][0-9][0-9][0-9].array_record",
    ),
)


def kind_of(folder: Path) -> Kind:
    """What a folder is that is to be published.

    Raises:
        UserError: there is no such folder, or it is none of the kinds, or two of them.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    signs = (
        (POLICY, is_policy(folder)),
        (HEAD, (folder / RISK_HEAD / METADATA).is_file()),
        (BANK, any((folder / bank / METADATA).is_file() for bank in BANKS)),
        (DATASET, (folder / INFO_FILE).is_file()),
    )
    found = [kind for kind, there in signs if there]
    if len(found) == 1:
        return found[0]
    if found:
        both = " and ".join(f"a {kind.name}" for kind in found)
        raise UserError(f"{folder} holds {both}; keep them in folders of their own")
    inside = f"; name the folder that holds it: {folder.parent}" if _is_inside(folder) else ""
    raise UserError(
        f"{folder} is no policy, risk head, steering bank or dataset of episodes{inside}"
    )


def _is_inside(folder: Path) -> bool:
    return folder.name in (RISK_HEAD, *BANKS) and (folder / METADATA).is_file()


def _matches(path: str, pattern: str) -> bool:
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))
