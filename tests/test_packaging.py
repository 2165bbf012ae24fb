"""The package as it is installed elsewhere: sdist, wheel, a command run outside the checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_BUILD = "import sys; from setuptools import build_meta; print(build_meta.{}(sys.argv[1]))"


def build(what: str, source: Path, into: Path) -> Path:
    command = [sys.executable, "-c", _BUILD.format(what), str(into)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return into / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the unpacked wheel, built from the unpacked sdist."""
    folder = tmp_path_factory.mktemp("packages")
    copy = folder / "copy"  # a build leaves files in its source
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("mist_jax", "experiments", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    sdist = build("build_sdist", copy, folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    wheel = build("build_wheel", folder / sdist.name.removesuffix(".tar.gz"), folder)
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def test_the_wheel_holds_every_file_of_the_package_and_nothing_beside_it(installed):
    def files(folder: Path) -> set[str]:
        paths = (path for path in (folder / "mist_jax").rglob("*") if path.is_file())
        return {str(path.relative_to(folder)) for path in paths if "__pycache__" not in path.parts}

    assert files(installed) == files(ROOT)
    assert {path.name.partition("-")[0] for path in installed.iterdir()} == {"mist_jax"}


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.libero
def test_an_installed_package_evaluates_its_own_policy_outside_the_checkout(installed, tmp_path):
    start = "import mist_jax; print(mist_jax.__file__)\n"
    start += "from mist_jax.commands.start.main import main; main()"
    flags = ["--interventions=none", "--n_episodes=1", "--task_ids=0", "--initial_states=30"]
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            start,
            "run_evaluation",
            *flags,
            "--assets=lite",
            "--output_dir=out",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0].startswith(str(installed))
    assert (tmp_path / "out" / "report.html").is_file()
    assert "mist-jax run_evaluation --interventions=none" in (
        tmp_path / "out" / "dataset.json"
    ).read_text(encoding="utf-8")
