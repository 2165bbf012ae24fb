"""A folder that holds an Orbax tree of arrays and the JSON that says what they are.

arrays/         Orbax, restorable on any number of devices
metadata.json   written by the caller; the folder appears whole or not at all
"""

import importlib.metadata
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding, SingleDeviceSharding

from mist_jax.disk import whole_folder
from mist_jax.errors import UserError

ARRAYS, METADATA = "arrays", "metadata.json"


def code_version() -> str:
    """The installed version of mist_jax."""
    try:
        return importlib.metadata.version("mist_jax")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def save_checkpoint(
    folder: Path, tree: Mapping[str, Any], metadata: Mapping[str, Any], kind: str
) -> None:
    """Writes arrays and metadata beside `folder`, then puts them in place; an old one is replaced.

    Raises:
        UserError: `folder` holds something that is not a checkpoint of this `kind`, is a file, or
            the disk is full.
    """
    taken = os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir()))
    if taken and _kind(folder) != kind:
        raise UserError(f"{folder} exists and is not a {kind}; name another folder")
    described = {"kind": kind, "code_version": code_version(), **metadata}
    text = json.dumps(described, indent=1, allow_nan=False)
    with whole_folder(folder) as beside:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save((beside / ARRAYS).absolute(), dict(tree))
        (beside / METADATA).write_text(text + "\n", encoding="utf-8")


def read_metadata(folder: Path, kind: str) -> dict[str, Any]:
    """The metadata of a checkpoint of this `kind`.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / METADATA
    if not path.is_file():
        raise UserError(f"{folder} is not a {kind}: it has no {METADATA}")
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        found = metadata["kind"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error!r}); make the {kind} again") from error
    if found != kind:
        raise UserError(f"{folder} is a {found}, not a {kind}")
    return metadata


def restore_arrays(folder: Path, sharding: Sharding | None = None) -> dict[str, Any]:
    """The arrays as they were saved, placed on `sharding` (default: the first device, whole).

    Raises:
        UserError: they are missing or damaged.
    """
    place = sharding or SingleDeviceSharding(jax.devices()[0])
    path = (folder / ARRAYS).absolute()
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            saved = checkpointer.metadata(path).item_metadata.tree
            target = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), saved
            )
            return checkpointer.restore(path, target)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} cannot be read ({reason}); make it again") from error


def _kind(folder: Path) -> str | None:
    try:
        return json.loads((folder / METADATA).read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
