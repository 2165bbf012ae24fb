"""Off-screen rendering: which GL library to use, and pictures of a scene."""

import ctypes.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mist_jax.errors import UserError

CAMERAS = ("agentview", "robot0_eye_in_hand")
_BACKENDS = ("egl", "osmesa", "glx", "glfw")
_OFF = ("disable", "disabled", "off", "false", "0")
_INSTALL = (
    "apt-get install -y libosmesa6   (or: apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri)"
)
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
        chosen = _find_backend() or "disable"
        os.environ["MUJOCO_GL"] = chosen
        if chosen == "disable" and render:
            del os.environ["MUJOCO_GL"]
            raise UserError(f"no GL library for off-screen rendering: {_INSTALL}")
    elif chosen in _OFF and render:
        raise UserError(
            f"MUJOCO_GL={chosen} forbids rendering: unset it, or set it to egl or osmesa"
        )
    elif chosen not in _BACKENDS + _OFF:
        raise UserError(f"MUJOCO_GL={chosen} is unknown: valid ones are {', '.join(_BACKENDS)}")
    return chosen


def _find_backend() -> str | None:
    # PyOpenGL can be bound to one platform only, and the user may have bound it.
    bound = os.environ.get("PYOPENGL_PLATFORM", "").lower()
    if bound not in ("osmesa", "") or not ctypes.util.find_library("OSMesa"):
        osmesa = False
    else:
        osmesa = True
    egl = bound in ("egl", "") and ctypes.util.find_library("EGL") is not None
    if egl and _has_gpu() and _probe("egl"):
        return "egl"
    if osmesa and _probe("osmesa"):
        return "osmesa"
    if egl and not _has_gpu() and _probe("egl"):
        return "egl"
    return None


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
    """Pictures of one simulation, as robosuite makes them.

    Attributes:
      mode: `exact` gives the pixels of stock LIBERO; `fast` leaves out reflections and
        multisampling, which is for training data and not for published numbers.
    """

    def __init__(self, sim: Any, camera_res: int, mode: Literal["exact", "fast"]):
        from robosuite.utils.binding_utils import MjRenderContextOffscreen

        self.mode = mode
        self._sim = sim
        self._camera_res = camera_res
        if mode == "fast":
            sim.model.vis.quality.offsamples = 0
        self._context = MjRenderContextOffscreen(sim, device_id=-1)
        self._context.vopt.geomgroup[0] = 0
        self._context.vopt.geomgroup[1] = 1
        if mode == "fast":
            import mujoco

            self._context.scn.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0

    def render(self, camera: str) -> np.ndarray:
        """uint8 [camera_res, camera_res, 3], rows from the bottom up, as LIBERO gives them."""
        # Another environment of this process may have left its own context current.
        self._context.gl_ctx.make_current()
        return self._sim.render(width=self._camera_res, height=self._camera_res, camera_name=camera)

    def close(self) -> None:
        """Frees the GL context."""
        self._context.gl_ctx.make_current()
        self._context.con.free()
        self._context.gl_ctx.free()
