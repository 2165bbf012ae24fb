"""Assets are searched in the documented order, and importing LIBERO leaves no trace."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mist_jax.errors import UserError
from mist_jax.simulator.libero import assets as assets_module
from mist_jax.simulator.libero.assets import find_assets


def make_folder(path: Path, leave_out: str = "") -> Path:
    for name in assets_module._EXPECTED:
        if name != leave_out:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).touch()
    return path


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty HOME, without any setting that names assets."""
    for name in ("MIST_LIBERO_ASSETS", "LIBERO_CONFIG_PATH", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(assets_module, "package_folder", lambda: tmp_path / "package")
    return tmp_path


def places(home: Path, monkeypatch) -> list[tuple[str, Path]]:
    """Every place, in the documented order."""
    snapshot = home / ".cache/huggingface/hub/datasets--lerobot--libero-assets/snapshots/abc"
    found = [
        ("MIST_LIBERO_ASSETS", make_folder(home / "named")),
        ("LIBERO config", make_folder(home / "configured")),
        ("libero package", make_folder(home / "package" / "assets")),
        ("LIBERO cache", make_folder(home / ".cache/libero/assets")),
        ("hub cache", make_folder(snapshot)),
    ]
    monkeypatch.setenv("MIST_LIBERO_ASSETS", str(home / "named"))
    (home / ".libero").mkdir()
    (home / ".libero/config.yaml").write_text(f"assets: {home / 'configured'}\n")
    return found


def test_places_are_searched_in_order(home, monkeypatch):
    for source, path in places(home, monkeypatch):
        found = find_assets("libero", allow_download=False)
        assert (found.kind, found.source, found.path) == ("libero", source, path)
        if source == "MIST_LIBERO_ASSETS":
            monkeypatch.delenv("MIST_LIBERO_ASSETS")
        path.rename(home / f"gone_{path.name}_{source.replace(' ', '_')}")
    with pytest.raises(UserError, match="--assets=lite"):
        find_assets("libero", allow_download=False)


def test_config_of_libero_config_path_wins_over_home(home, monkeypatch):
    other = home / "elsewhere"
    other.mkdir()
    (other / "config.yaml").write_text(f"assets: {make_folder(home / 'mine')}\n")
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(other))
    assert find_assets("libero", allow_download=False).path == home / "mine"


@pytest.mark.parametrize("request_kind", ["auto", "lite"])
def test_lite_assets_where_no_others_are(home, request_kind):
    found = find_assets(request_kind, allow_download=False)
    assert found.kind == "lite"
    assert assets_module._first_missing(found.path) is None


def test_folder_that_the_user_named_must_be_complete(home, monkeypatch):
    missing = assets_module._EXPECTED[2]
    monkeypatch.setenv("MIST_LIBERO_ASSETS", str(make_folder(home / "named", missing)))
    with pytest.raises(UserError, match=f"MIST_LIBERO_ASSETS.*lack {missing}"):
        find_assets("auto", allow_download=False)


def test_interrupted_download_is_not_taken_for_assets(home):
    make_folder(home / ".cache/libero/assets", assets_module._EXPECTED[-1])
    assert find_assets("auto", allow_download=False).kind == "lite"


def test_a_download_that_broke_in_the_middle_is_gone_on_with(home, monkeypatch):
    calls = []

    def download(name, *, local_dir, **_):
        calls.append(name)
        make_folder(local_dir)
        if len(calls) == 1:
            raise KeyboardInterrupt
        (local_dir / "last.xml").touch()

    monkeypatch.setattr(assets_module, "_hub_answers", lambda: True)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(KeyboardInterrupt):
        find_assets("auto")
    assert find_assets("auto", allow_download=False).kind == "lite"
    found = find_assets("auto")
    assert found.source == "hub lerobot/libero-assets"
    assert (found.path / "last.xml").is_file()
    again = find_assets("libero", allow_download=False)
    assert (again.path, again.source, len(calls)) == (found.path, "LIBERO cache", 2)


def test_broken_config_is_one_clear_line(home):
    (home / ".libero").mkdir()
    (home / ".libero/config.yaml").write_text("assets: [")
    with pytest.raises(UserError, match="not valid YAML"):
        find_assets("auto", allow_download=False)


def test_offline_hub_is_given_up_at_once(home, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="hub cannot be reached"):
        find_assets("libero")


def test_download_that_breaks_off_is_one_clear_line(home, monkeypatch):
    def fails(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(assets_module, "_hub_answers", lambda: True)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)
    with pytest.raises(UserError, match=r"broke off .*No space left.*again"):
        find_assets("auto")


def test_unknown_request_lists_the_valid_ones():
    with pytest.raises(UserError, match="valid ones are auto, libero, lite"):
        find_assets("full")  # type: ignore[arg-type]


IMPORT = """
import builtins, sys
builtins.input = None
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.libero.libero_package import import_libero
from mist_jax.simulator.environment.rendering import choose_gl
choose_gl(False)
import_libero(find_assets("auto", allow_download=False).path)
forbidden = {"torch", "jax", "tensorflow", "wandb", "libero.libero.benchmark"}
sys.exit(", ".join(sorted(forbidden & set(sys.modules))) or 0)
"""


@pytest.mark.libero
def test_import_asks_nothing_says_nothing_and_leaves_home_alone(tmp_path):
    variables = {key: value for key, value in os.environ.items() if key != "LIBERO_CONFIG_PATH"}
    variables["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    (tmp_path / "home").mkdir()
    result = subprocess.run(
        [sys.executable, "-c", IMPORT],
        env={**variables, "HOME": str(tmp_path / "home")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    assert not (tmp_path / "home" / ".libero").exists()
