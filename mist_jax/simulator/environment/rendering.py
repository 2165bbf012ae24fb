"""Off-screen rendering: which GL library to use, and pictures of a scene."""

import atexit
import ctypes.util
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mist_jax.errors import UserError

_BACKENDS = ("egl", "osmesa", "glx", "glfw")
_OFF = ("disable", "disabled", "off", "false", "0")
_INSTALL = (
    "apt-get install -y libosmesa6   (or: apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri)"
)
RenderMode = Literal["exact", "fast"]
_PROBE = """
import os
from mujoco.{backend} import GLContext
GLContext(64, 64).make_current()
os._exit(0)
"""
_PROBE_SECONDS = 60


def choose_gl(render: bool) -> str:
    """Decides MUJOCO_GL before MuJoCo and robosuite are imported; returns it.

    The user's own choice is kept. Else: EGL where there is a GPU, else OSMesa, else EGL in
    software; `disable` where there is none and nothing is rendered.

    Args:
      render: whether this process will render.

    Raises:
      UserError: rendering is asked for and there is no GL library, or MUJOCO_GL forbids it.
    """
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if not chosen:
        backend = _find_backend()
        if backend is None and render:
            raise UserError(f"no GL library for off-screen rendering: {_INSTALL}")
        chosen = os.environ["MUJOCO_GL"] = backend or "disable"
    elif chosen not in _BACKENDS + _OFF:
        raise UserError(f"MUJOCO_GL={chosen} is unknown: valid ones are {', '.join(_BACKENDS)}")
    elif chosen in _OFF and render:
        raise UserError(
            f"MUJOCO_GL={chosen} forbids rendering: set it to egl or osmesa; "
            f"if neither is installed: {_INSTALL}"
        )
    elif chosen in ("egl", "osmesa") and render and not _has_library(chosen):
        raise UserError(f"MUJOCO_GL={chosen}, but its library is not installed: {_INSTALL}")
    return chosen


def check_gl() -> None:
    """Makes sure, at once, that rendering here is not hopeless; no context is tried.

    Raises:
      UserError: MUJOCO_GL is unknown, forbids rendering or names a library that is absent, or there
        is no GL library at all.
    """
    if os.environ.get("MUJOCO_GL", "").strip():
        choose_gl(render=True)
    elif not (_has_library("egl") or _has_library("osmesa")):
        raise UserError(f"no GL library for off-screen rendering: {_INSTALL}")


def _find_backend() -> str | None:
    # PyOpenGL can be bound to one platform only, and the user may have bound it.
    bound = os.environ.get("PYOPENGL_PLATFORM", "").lower()
    candidates = ["egl", "osmesa"] if _has_gpu() else ["osmesa", "egl"]
    for backend in candidates:
        if bound in ("", backend) and _has_library(backend) and _probe(backend):
            return backend
    return None


def _has_library(backend: str) -> bool:
    return ctypes.util.find_library({"egl": "EGL", "osmesa": "OSMesa"}[backend]) is not None


def _has_gpu() -> bool:
    return any(Path("/dev").glob("nvidia[0-9]*")) or any(Path("/dev/dri").glob("renderD*"))


def _probe(backend: str) -> bool:
    """Whether a GL context can be made; tried in another process, since a bad driver can crash."""
    environment = {**os.environ, "MUJOCO_GL": backend}
    command = [sys.executable, "-c", _PROBE.format(backend=backend)]
    try:
        result = subprocess.run(
            command, env=environment, capture_output=True, timeout=_PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return result.returncode == 0


class SceneRenderer:
    """Pictures of one simulation, as robosuite makes them."""

    def __init__(self, sim: Any, data: Any, camera_res: int, mode: RenderMode):
        """Makes a GL context.

        Args:
          sim: robosuite's simulation.
          data: robosuite's MjData of the same model: the state that the pictures show.
          camera_res: height and width in pixels.
          mode: `exact` gives the pixels of stock LIBERO; `fast` leaves out reflections and
            multisampling, which is for training data and not for published numbers.
        """
        from robosuite.utils.binding_utils import MjRenderContextOffscreen

        self._camera_res = camera_res
        if mode == "fast":
            sim.model.vis.quality.offsamples = 0
        self._context: Any = MjRenderContextOffscreen(sim, device_id=-1)
        self._context.data = data
        self._context.vopt.geomgroup[0] = 0
        self._context.vopt.geomgroup[1] = 1
        if mode == "fast":
            import mujoco

            self._context.scn.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        # robosuite frees a context without making it current, which damages another one's.
        self.close = weakref.finalize(self, _free, self._context)
        # Registered after the display's own end, so it runs before that.
        self.close.atexit = False
        atexit.register(self.close)

    def render(self, camera_id: int) -> np.ndarray:
        """uint8 [camera_res, camera_res, 3], rows from the bottom up, as LIBERO gives them."""
        # Another environment of this process may have left its own context current.
        self._context.gl_ctx.make_current()
        self._context.render(self._camera_res, self._camera_res, camera_id)
        return self._context.read_pixels(self._camera_res, self._camera_res)


def _free(context: Any) -> None:
    context.gl_ctx.make_current()
    context.con.free()
    context.gl_ctx.free()
