"""LIBERO's Python package: found, and imported without questions, noise, torch or HOME."""

import atexit
import contextlib
import importlib
import importlib.machinery
import importlib.util
import io
import os
import sys
import types
import warnings
from pathlib import Path
from typing import Any

from mist_jax.errors import UserError
from mist_jax.scratch import Scratch


def package_folder() -> Path:
    """The folder of the module `libero.libero`: its BDDL files and initial states lie in it."""
    spec = importlib.util.find_spec("libero")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / "libero"
        if (folder / "bddl_files").is_dir():
            return folder
    raise UserError(
        "LIBERO is not installed in this Python: pip install --no-deps "
        "hf-libero==0.1.4 robosuite==1.4.0 bddl==1.0.1"
    )


def user_config() -> Path:
    """Where LIBERO keeps the user's config.yaml (it need not exist)."""
    folder = os.environ.get("LIBERO_CONFIG_PATH") or Path.home() / ".libero"
    return Path(folder) / "config.yaml"


def import_libero(assets: Path) -> Any:
    """Imports LIBERO's environments, which load `assets` (a folder); returns `libero.libero.envs`.

    MUJOCO_GL must be decided before (`rendering.choose_gl`). May be called again, also with
    other assets: environments that are built later use those.
    """
    package_folder()
    with quiet():
        _prepare_robosuite()
        with _private_config():
            root: Any = importlib.import_module("libero.libero")
        root._assets_path_cache = str(assets)
        return importlib.import_module("libero.libero.envs")


@contextlib.contextmanager
def quiet():
    """Hides what the packages print and warn while they are imported or build a scene."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _private_config():
    """LIBERO asks on the terminal when it finds no config: this gives it one outside HOME."""
    if "libero.libero" in sys.modules or user_config().is_file():
        yield
        return
    scratch = Scratch()
    atexit.register(scratch.remove)
    root = package_folder()
    entries = {
        "benchmark_root": root,
        "bddl_files": root / "bddl_files",
        "init_states": root / "init_files",
        "datasets": root.parent / "datasets",
        "assets": root / "assets",
    }
    lines = "".join(f"{key}: '{path!s}'\n" for key, path in entries.items())
    (scratch.path / "config.yaml").write_text(lines, encoding="utf-8")
    before = os.environ.get("LIBERO_CONFIG_PATH")
    os.environ["LIBERO_CONFIG_PATH"] = str(scratch.path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["LIBERO_CONFIG_PATH"]
        else:
            os.environ["LIBERO_CONFIG_PATH"] = before


def _prepare_robosuite() -> None:
    """Sets robosuite's macros before its first import reads them.

    Its defaults force MUJOCO_GL to egl, warn about a missing private macro file, and log to a
    file in /tmp that another user of the machine may own.
    """
    if "robosuite" in sys.modules:
        return
    spec = importlib.util.find_spec("robosuite")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("robosuite is not installed: pip install --no-deps robosuite==1.4.0")
    folder = Path(spec.submodule_search_locations[0])
    loader = importlib.machinery.SourceFileLoader("robosuite.macros", str(folder / "macros.py"))
    macros: Any = types.ModuleType("robosuite.macros")
    macros.__file__ = loader.path
    loader.exec_module(macros)
    macros.MUJOCO_GPU_RENDERING = False
    macros.CONSOLE_LOGGING_LEVEL = "ERROR"
    macros.FILE_LOGGING_LEVEL = None
    sys.modules["robosuite.macros"] = macros
    if not (folder / "macros_private.py").exists():
        sys.modules["robosuite.macros_private"] = types.ModuleType("robosuite.macros_private")
    robosuite: Any = importlib.import_module("robosuite")
    robosuite.macros = macros
