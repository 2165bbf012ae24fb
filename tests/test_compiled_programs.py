"""Compiled programs outlive their process, also where several begin at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ASK = """
import jax
from mist_jax.compiled_programs import keep_compiled_programs

hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
keep_compiled_programs()
value = jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((8, 8)))
print(float(value), sum(event.endswith("cache_hits") for event in hits))
"""


def begin(folder: Path, **environment: str) -> subprocess.Popen:
    kept = {"XDG_CACHE_HOME": str(folder), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return subprocess.Popen(
        [sys.executable, "-c", ASK],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **kept, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen) -> tuple[float, int]:
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert not errors, "a program that cannot be kept or read is a warning"
    value, hits = said.split()
    return float(value), int(hits)


@pytest.fixture(autouse=True)
def no_cache_of_the_users(monkeypatch):
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE"):
        monkeypatch.delenv(name, raising=False)


def test_what_one_process_compiles_others_find_also_when_three_begin_at_once(tmp_path):
    assert {value for value, _ in map(end, [begin(tmp_path) for _ in range(3)])} == {512.0}
    [folder] = (tmp_path / "mist_jax" / "compiled").iterdir()
    kept = set(folder.glob("*-cache"))
    assert kept
    again, hits = end(begin(tmp_path))
    assert again == 512.0
    assert hits > 0
    assert set(folder.glob("*-cache")) == kept


def test_the_user_can_name_another_folder_or_keep_nothing(tmp_path):
    other = tmp_path / "other"
    end(begin(tmp_path / "a", JAX_COMPILATION_CACHE_DIR=str(other)))
    assert list(other.glob("*-cache"))
    end(begin(tmp_path / "b", JAX_ENABLE_COMPILATION_CACHE="false"))
    assert not (tmp_path / "a").exists()
    assert not list(tmp_path.glob("b/**/*-cache"))


def test_programs_are_kept_beside_one_that_a_killed_process_left_undated(tmp_path):
    folder = tmp_path / "kept"
    folder.mkdir()
    left = folder / "jit_f-0123-cache"
    left.write_bytes(b"half a program")
    end(begin(tmp_path, JAX_COMPILATION_CACHE_DIR=str(folder)))
    assert len(list(folder.glob("*-cache"))) > 1
