"""Lite assets: stand-ins for LIBERO's objects and scene, written by this project.

Names, joints, contact geometry, masses and marker sites are LIBERO's, so that its tasks, initial
states and physics are unchanged; what is seen is made of simple meshes and painted textures.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from mist_jax.errors import UserError
from mist_jax.simulator.lite.parts import (
    basket,
    bowl,
    cabinet,
    cookie_box,
    floor_scene,
    groceries,
    plate,
    ramekin,
    stove,
    table_scene,
)

_COMPLETE = ".complete"


def lite_asset_files() -> dict[str, bytes]:
    """Every file of the lite assets, by path relative to the assets folder."""
    spatial = (bowl, plate, ramekin, cookie_box, cabinet, stove, table_scene)
    objects = (basket, groceries, floor_scene)
    return {path: content for noun in spatial + objects for path, content in noun.files().items()}


def _version(files: dict[str, bytes]) -> str:
    """Hash of all contents, so that a cache folder never outlives the code that wrote it."""
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        digest.update(f"{path} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:12]


def build_lite_assets(directory: Path | None = None) -> Path:
    """Write the lite assets, unless they are there already, and return their folder.

    The folder has the layout of LIBERO's assets and serves libero_spatial and libero_object. It is
    written beside and renamed: several processes may build it at once, and a part is never seen
    as the whole.

    Args:
        directory: the folder; default `mist_jax/lite_assets_<hash of the contents>` in
            `$XDG_CACHE_HOME` or `~/.cache`.

    Raises:
        UserError: the folder cannot be written, or something else is in its place.
    """
    files = lite_asset_files()
    version = _version(files)
    if directory is None:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        directory = Path(cache) / "mist_jax" / f"lite_assets_{version}"
    mark = directory / _COMPLETE
    if mark.is_file() and mark.read_text(encoding="utf-8") == version:
        return directory
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise UserError(
            f"lite assets: {directory} holds something else; name a folder that is absent or empty"
        )
    try:
        _write(files, version, directory)
    except OSError as error:
        raise UserError(
            f"lite assets: cannot write {directory} ({error.strerror}); "
            "set XDG_CACHE_HOME to a folder that can be written"
        ) from error
    return directory


def _write(files: dict[str, bytes], version: str, directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f"{directory.name}.", dir=directory.parent))
    try:
        for path, content in files.items():
            file = beside / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        (beside / _COMPLETE).write_text(version, encoding="utf-8")
        beside.chmod(0o755)
        try:
            beside.rename(directory)
        except OSError:
            # Another process was first, which is as good; anything else is an error.
            mark = directory / _COMPLETE
            if not (mark.is_file() and mark.read_text(encoding="utf-8") == version):
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
