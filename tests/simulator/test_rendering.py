"""Rendering finds a GL library or says what to install, and its pictures are right."""

import os
import subprocess
import sys

import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.record.observation import CAMERAS
from mist_jax.simulator.environment import rendering
from mist_jax.simulator.environment.environment import Environment
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.libero.suites import load_task


@pytest.fixture
def no_gl(monkeypatch):
    """A machine without a GL library."""
    # Set first, so that monkeypatch brings back what there was.
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.setattr(rendering, "_has_library", lambda backend: False)


def test_no_gl_library_names_the_one_command(no_gl):
    with pytest.raises(UserError, match=r"apt-get install -y libosmesa6 .*libegl1"):
        rendering.choose_gl(render=True)


def test_no_gl_library_is_fine_where_nothing_is_rendered(no_gl):
    assert rendering.choose_gl(render=False) == "disable"
    with pytest.raises(UserError, match="apt-get install"):
        rendering.choose_gl(render=True)


def test_library_whose_contexts_fail_is_not_chosen(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.delenv("PYOPENGL_PLATFORM", raising=False)
    monkeypatch.setattr(rendering, "_has_library", lambda backend: True)
    monkeypatch.setattr(rendering, "_has_gpu", lambda: True)
    monkeypatch.setattr(rendering, "_probe", lambda backend: backend == "osmesa")
    assert rendering.choose_gl(render=True) == "osmesa"


@pytest.mark.parametrize(("gpu", "expected"), [(True, "egl"), (False, "osmesa")])
def test_egl_is_for_machines_with_a_gpu(monkeypatch, gpu, expected):
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.delenv("PYOPENGL_PLATFORM", raising=False)
    monkeypatch.setattr(rendering, "_has_library", lambda backend: True)
    monkeypatch.setattr(rendering, "_has_gpu", lambda: gpu)
    monkeypatch.setattr(rendering, "_probe", lambda backend: True)
    assert rendering.choose_gl(render=True) == expected


def test_users_choice_is_kept(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(rendering, "_has_library", lambda backend: True)
    assert rendering.choose_gl(render=True) == "egl"


@pytest.mark.parametrize("choice", ["vulkan", "disable"])
def test_users_impossible_choice_is_one_clear_line(monkeypatch, choice):
    monkeypatch.setenv("MUJOCO_GL", choice)
    with pytest.raises(UserError, match=f"MUJOCO_GL={choice}"):
        rendering.choose_gl(render=True)


def test_probe_tells_a_context_from_a_crash():
    assert not rendering._probe("no_such_backend")


@pytest.fixture(scope="module")
def scene():
    return load_task("libero_spatial", 0), find_assets("auto", allow_download=False)


@pytest.mark.libero
def test_environments_of_one_process_do_not_mix_their_pictures(scene):
    one = Environment(*scene, camera_res=64)
    one.reset(0, 0, settle_steps=0)
    expected = one.observe().images
    other = Environment(*scene, camera_res=96)
    other.reset(5, 1, settle_steps=0)
    assert other.observe().images["agentview"].shape == (96, 96, 3)
    for name in CAMERAS:
        np.testing.assert_array_equal(one.observe().images[name], expected[name])
    other.close()
    for name in CAMERAS:
        np.testing.assert_array_equal(one.observe().images[name], expected[name])
    one.close()


@pytest.mark.libero
def test_fast_pictures_show_the_same_scene(scene):
    pictures = {}
    for mode in ("exact", "fast"):
        environment = Environment(*scene, camera_res=128, render=mode)
        environment.reset(0, 0, settle_steps=0)
        pictures[mode] = environment.observe().images
        environment.close()
    for name in CAMERAS:
        exact, fast = (pictures[mode][name].astype(float) for mode in ("exact", "fast"))
        assert exact.std() > 10
        # Antialiased edges and reflections differ, the scene does not.
        assert np.abs(exact - fast).mean() < 4
        assert not np.array_equal(exact, fast)


FORGETS_TO_CLOSE = """
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.environment.environment import Environment
from mist_jax.simulator.libero.suites import load_task
environment = Environment(
    load_task("libero_spatial", 0), find_assets("auto", allow_download=False), camera_res=64
)
environment.reset(0, 0, settle_steps=0)
environment.observe()
"""


@pytest.mark.libero
def test_process_that_forgets_to_close_ends_quietly():
    result = subprocess.run(
        [sys.executable, "-c", FORGETS_TO_CLOSE], env=dict(os.environ), capture_output=True
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
