"""A folder that holds an Orbax tree of arrays and the JSON that says what they are.

arrays/         Orbax, restorable on any number of devices
metadata.json   written by the caller; the folder appears whole or not at all
"""

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util
from jax.sharding import Sharding, SingleDeviceSharding
from jax.typing import DTypeLike

from mist_jax.disk import whole_folder
from mist_jax.errors import UserError

ARRAYS, METADATA = "arrays", "metadata.json"

Made = TypeVar("Made")


def code_version() -> str:
    """The installed version of mist_jax."""
    try:
        return importlib.metadata.version("mist_jax")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def digest_of(flat: Mapping[tuple[str, ...], Any], dtype: DTypeLike | None = None) -> str:
    """SHA-256 over names, shapes, dtypes and bytes, in the order of the names.

    `dtype`: that of the arrays before they were widened; default their own.
    """
    total = hashlib.sha256()
    for path in sorted(flat):
        array = np.asarray(flat[path])
        array = array if dtype is None else array.astype(dtype, copy=False)
        total.update(f"{'/'.join(path)} {array.shape} {array.dtype}".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def save_checkpoint(
    folder: Path, tree: Mapping[str, Any], metadata: Mapping[str, Any], kind: str
) -> None:
    """Writes arrays and metadata beside `folder`, then puts them in place; an old one is replaced.

    Raises:
        UserError: `folder` holds something that is not a checkpoint of this `kind`, is a file, or
            the disk is full; or an array holds NaN or infinity.
    """
    check_finite(tree, kind)
    taken = os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir()))
    if taken and _kind(folder) != kind:
        raise UserError(f"{folder} exists and is not a {kind}; name another folder")
    described = {
        "kind": kind,
        "code_version": code_version(),
        "digest": digest_of(_flat(tree)),
        **metadata,
    }
    text = json.dumps(described, indent=1, allow_nan=False)
    with whole_folder(folder) as beside:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save((beside / ARRAYS).absolute(), dict(tree))
        (beside / METADATA).write_text(text + "\n", encoding="utf-8")


def check_finite(tree: Mapping[str, Any], kind: str) -> None:
    """Raises UserError where an array of the tree of a `kind` holds NaN or infinity."""
    for name, array in _flat(tree).items():
        if not np.isfinite(array).all():
            raise UserError(
                f"the {kind} diverged: {'/'.join(name)} is not finite, so nothing is saved; lower "
                "the learning rate, or look for activations that are too large"
            )


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
    metadata.pop("digest", None)  # `restore_arrays` compares it
    return metadata


def restore_arrays(folder: Path, sharding: Sharding | None = None) -> dict[str, Any]:
    """The arrays as they were saved, placed on `sharding` (default: the first device, whole).

    Raises:
        UserError: they are missing, damaged, or not those whose digest the metadata hold.
    """
    place = sharding or SingleDeviceSharding(jax.devices()[0])
    path = (folder / ARRAYS).absolute()
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            saved = checkpointer.metadata(path).item_metadata.tree
            target = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), saved
            )
            tree = checkpointer.restore(path, target)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} cannot be read ({reason}); make it again") from error
    if digest_of(_flat(tree)) != _described(folder).get("digest"):
        raise UserError(f"{path} does not hold the arrays of its {METADATA}; make it again")
    return tree


def checkpoint_path(folder: Path, name: str) -> Path:
    """`folder` itself where it is a checkpoint, else `folder`/`name`."""
    return folder if (folder / METADATA).is_file() else folder / name


def restore_checkpoint(
    path: Path,
    kind: str,
    build: Callable[[dict[str, Any], dict[str, Any]], Made],
    misfit: Callable[[Made], str],
    sharding: Sharding | None = None,
) -> Made:
    """What `build` makes of the arrays and the metadata (without their kind) of a checkpoint.

    `misfit` says what of it does not fit the rest; "" for a whole one.

    Raises:
        UserError: there is no such checkpoint, or it is damaged.
    """
    described = read_metadata(path, kind)
    del described["kind"]
    tree = restore_arrays(path, sharding)
    try:
        made = build(tree, described)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged, or of another version ({error!r}); make the {kind} again"
        ) from error
    if wrong := misfit(made):
        raise UserError(f"{path} is damaged: {wrong}; make the {kind} again")
    return made


def _kind(folder: Path) -> str | None:
    return _described(folder).get("kind")


def _described(folder: Path) -> dict[str, Any]:
    """The metadata as they are; empty where they cannot be read."""
    try:
        found = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _flat(tree: Mapping[str, Any]) -> dict[tuple[str, ...], np.ndarray]:
    return {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(dict(tree)).items()}
