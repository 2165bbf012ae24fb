"""The benchmark's initial states, read from LIBERO's torch files without torch."""

import io
import pickle
import zipfile
from typing import Any

import numpy as np

from mist_jax.errors import UserError
from mist_jax.simulator.libero.suites import Task

# All that the pickle of a plain float64 array names; nothing here can run code.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


def load_initial_states(task: Task) -> np.ndarray:
    """The task's initial states.

    Returns:
      float64 [50, 1 + nq + nv]: time, then MuJoCo's qpos and qvel.

    Raises:
      UserError: the file is missing or damaged.
    """
    path = task.initial_states_file
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(names) != 1:
                raise pickle.UnpicklingError("no single data.pkl")
            states = _ArrayUnpickler(io.BytesIO(archive.read(names[0]))).load()
    except FileNotFoundError:
        raise UserError(f"no initial states at {path}: install hf-libero==0.1.4 again") from None
    except Exception as error:
        # A damaged pickle can raise almost anything.
        raise UserError(
            f"damaged initial states in {path} ({error}): install hf-libero==0.1.4 again"
        ) from error
    if not isinstance(states, np.ndarray) or states.dtype != np.float64 or states.ndim != 2:
        raise UserError(f"{path} holds no float64 table: install hf-libero==0.1.4 again")
    return states


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return _ALLOWED[module, name]


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")
