"""Where LIBERO's scene assets (meshes, textures, MJCF files) are on this machine."""

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from mist_jax.errors import UserError
from mist_jax.simulator.libero.libero_package import package_folder, user_config
from mist_jax.simulator.libero.suite import AssetKind, Suite
from mist_jax.simulator.libero.suites import suites

AssetRequest = Literal["auto", "libero", "lite"]
HUB_DATASET = "lerobot/libero-assets"
_HUB_ANSWER_SECONDS = 5.0
# What both kinds of assets hold; each suite needs more, which is told when a task is loaded.
_EXPECTED = (
    "scenes/libero_tabletop_base_style.xml",
    "articulated_objects/flat_stove.xml",
    "articulated_objects/wooden_cabinet.xml",
    "stable_hope_objects/cookies/cookies.xml",
    "stable_scanned_objects/akita_black_bowl/akita_black_bowl.xml",
    "stable_scanned_objects/glazed_rim_porcelain_ramekin/glazed_rim_porcelain_ramekin.xml",
    "stable_scanned_objects/plate/plate.xml",
)
# Lies in the folder of a download that has not ended: those files may be among the first to come.
_UNFINISHED = ".unfinished_download"


@dataclass(frozen=True)
class Assets:
    """A folder of scene assets.

    Attributes:
      kind: `libero` for LIBERO's own files, `lite` for this project's stand-ins.
      path: the folder.
      source: where it was found, for records and reports.
    """

    kind: AssetKind
    path: Path
    source: str


def find_assets(request: AssetRequest, *, allow_download: bool = True) -> Assets:
    """The assets to simulate with.

    LIBERO's are searched in this order: the folder in MIST_LIBERO_ASSETS, the one that an
    existing LIBERO config names, libero's own package folder, the caches of the hub, the hub.
    `auto` falls back to the lite ones; `lite` takes those at once.

    Args:
      request: which kind.
      allow_download: whether the hub may be asked.

    Raises:
      UserError: LIBERO's assets were asked for and are nowhere, or a named folder is incomplete.
    """
    if request not in ("auto", "libero", "lite"):
        raise UserError(f"there are no assets {request!r}: valid ones are auto, libero, lite")
    if request != "lite":
        for path, source, chosen in _local_places():
            missing = _first_missing(path)
            if missing is None:
                return Assets("libero", path, source)
            if chosen:
                raise UserError(f"LIBERO's assets in {path} ({source}) lack {missing}")
        if allow_download and (path := _download()) is not None:
            return Assets("libero", path, f"hub {HUB_DATASET}")
        if request == "libero":
            raise UserError(
                "LIBERO's assets are not on this machine and the hub cannot be reached: "
                "name their folder in MIST_LIBERO_ASSETS, or use --assets=lite"
            )
    from mist_jax.simulator.lite.assets import build_lite_assets

    return Assets("lite", build_lite_assets(), "built by mist_jax")


def check_assets_serve(suite: Suite, assets: Assets) -> None:
    """Checks that a suite can be simulated with these assets.

    Raises:
      UserError: the suite is not made for this kind, or the folder lacks a file that it names.
    """
    if assets.kind not in suite.asset_kinds:
        held = [row.name for row in suites().values() if assets.kind in row.asset_kinds]
        other = (
            "name the folder of LIBERO's own in MIST_LIBERO_ASSETS"
            if assets.kind == "lite"
            else "use --assets=lite"
        )
        raise UserError(
            f"--env={suite.name}: the {assets.kind} assets hold {_listed(held)}; {other}"
        )
    for name in suite.asset_files:
        if not (assets.path / name).is_file():
            raise UserError(
                f"--env={suite.name} needs {name}, which the {assets.kind} assets in "
                f"{assets.path} lack"
            )


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _local_places() -> Iterator[tuple[Path, str, bool]]:
    """Folder, what named it, and whether the user chose it (then it must be complete)."""
    named = os.environ.get("MIST_LIBERO_ASSETS")
    if named:
        yield Path(named).expanduser().absolute(), "MIST_LIBERO_ASSETS", True
    config = user_config()
    if config.is_file():
        # LIBERO writes a config that names a folder which its package does not ship.
        folder = _folder_in_config(config)
        if folder is not None and folder.is_dir():
            yield folder, "LIBERO config", True
    yield package_folder() / "assets", "libero package", False
    if not (_libero_cache() / _UNFINISHED).exists():
        yield _libero_cache(), "LIBERO cache", False
    for snapshot in _hub_snapshots():
        yield snapshot, "hub cache", False


def _folder_in_config(config: Path) -> Path | None:
    try:
        entries = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UserError(f"{config} is not valid YAML: correct or delete it") from None
    folder = entries.get("assets") if isinstance(entries, dict) else None
    return Path(folder).expanduser() if isinstance(folder, str) and folder else None


def _libero_cache() -> Path:
    return Path.home() / ".cache" / "libero" / "assets"


def _hub_snapshots() -> list[Path]:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    folder = cache / f"datasets--{HUB_DATASET.replace('/', '--')}" / "snapshots"
    return sorted(folder.glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)


def _first_missing(path: Path) -> str | None:
    return next((name for name in _EXPECTED if not (path / name).is_file()), None)


def _download() -> Path | None:
    """Fetches the assets to where LIBERO itself would, or None if the hub does not answer.

    It goes on where an interrupted download ended.
    """
    if not _hub_answers():
        return None
    from huggingface_hub import snapshot_download

    path = _libero_cache()
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / _UNFINISHED).touch()
        snapshot_download(HUB_DATASET, repo_type="dataset", local_dir=path)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"the download of {HUB_DATASET} to {path} broke off ({reason}): "
            "run the same command again to go on, or use --assets=lite"
        ) from error
    missing = _first_missing(path)
    if missing is not None:
        raise UserError(f"the hub's {HUB_DATASET} came without {missing}: delete {path}, try again")
    (path / _UNFINISHED).unlink(missing_ok=True)  # another process may have ended it, too
    return path


def _hub_answers() -> bool:
    """Asks the hub once, for a few seconds; name resolution can hang, so from a thread."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return False
    answers: list[bool] = []

    def ask() -> None:
        from huggingface_hub import HfApi

        try:
            HfApi().dataset_info(HUB_DATASET, timeout=_HUB_ANSWER_SECONDS)
        except Exception:
            # Whatever went wrong, there is nothing to download.
            return
        answers.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * _HUB_ANSWER_SECONDS)
    return bool(answers)
