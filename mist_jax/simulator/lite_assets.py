"""Lite assets: stand-ins for LIBERO's objects and scene, written by this project.

Names, joints, contact geometry, masses and marker sites are LIBERO's, so that its tasks, initial
states and physics are unchanged; what is seen is made of simple meshes and painted textures.
"""

import os
import shutil
import tempfile
from pathlib import Path

from mist_jax.simulator.lite import bowl, cabinet, cookie_box, plate, ramekin, stove, table_scene

# Raise it with every change of what is written: the cache folder carries it.
VERSION = 1
_COMPLETE = ".complete"


def lite_asset_files() -> dict[str, bytes]:
    """Every file of the lite assets, by path relative to the assets folder."""
    return {
        path: content
        for noun in (bowl, plate, ramekin, cookie_box, cabinet, stove, table_scene)
        for path, content in noun.files().items()
    }


def lite_assets_directory() -> Path:
    """Where `build_lite_assets` writes by default: a versioned folder of the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "mist_jax" / f"lite_assets_v{VERSION}"


def build_lite_assets(directory: Path | None = None) -> Path:
    """Write the lite assets, unless they are there already, and return their folder.

    The folder has the layout of LIBERO's assets and serves the ten libero_spatial tasks. It is
    written beside and renamed: several processes may build it at once, and a part is never seen
    as the whole.

    Args:
        directory: the folder; default `lite_assets_directory()`.

    Raises:
        OSError: the folder cannot be written, or another, non-empty folder is in its place.
    """
    target = Path(directory) if directory is not None else lite_assets_directory()
    mark = target / _COMPLETE
    if mark.is_file() and mark.read_text() == str(VERSION):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        for path, content in lite_asset_files().items():
            file = beside / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        (beside / _COMPLETE).write_text(str(VERSION))
        beside.chmod(0o755)
        try:
            beside.rename(target)
        except OSError:
            # Another process was first, which is as good; anything else is an error.
            if not (mark.is_file() and mark.read_text() == str(VERSION)):
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target
