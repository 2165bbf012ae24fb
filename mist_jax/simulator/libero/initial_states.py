"""A task's initial states: a numpy file, or LIBERO's torch zip, read without torch."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mist_jax.errors import UserError
from mist_jax.simulator.libero.libero_package import package_folder
from mist_jax.simulator.libero.sampled_scenes import SAMPLED
from mist_jax.simulator.libero.suite import Task

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
      float64 [states, 1 + nq + nv]: time, then MuJoCo's qpos and qvel; LIBERO's have 50.

    Raises:
      UserError: the task has no file of them, it is missing or damaged, or holds more states than
        there are indices.
    """
    path = task.initial_states_file
    if path is None:
        raise UserError(
            f"{task.suite} has no published initial states: give sampled ones, such as "
            f"{SAMPLED.start}-{SAMPLED.start + 19} or tuning:20"
        )
    states = _read_npy(path) if path.suffix == ".npy" else _read_torch_zip(path)
    if len(states) > SAMPLED.start:
        raise UserError(
            f"{path} holds {len(states)} initial states: keep {SAMPLED.start} at most, indices "
            "after them are those of sampled scenes"
        )
    return states


def _read_npy(path: Path) -> np.ndarray:
    advice = "save a float64 table [states, 1 + nq + nv] there with numpy.save"
    try:
        states = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"no initial states at {path}: {advice}") from None
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"damaged initial states in {path} ({error}): {advice}") from error
    if not _is_table(states):
        raise UserError(f"{path} holds no float64 table: {advice}")
    return states


def _read_torch_zip(path: Path) -> np.ndarray:
    advice = "get it again from where the suite was published"
    if path.is_relative_to(package_folder()):
        advice = "install hf-libero==0.1.4 again"
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(names) != 1:
                raise pickle.UnpicklingError("no single data.pkl")
            states = _ArrayUnpickler(io.BytesIO(archive.read(names[0]))).load()
    except FileNotFoundError:
        raise UserError(f"no initial states at {path}: {advice}") from None
    except Exception as error:
        # A damaged pickle can raise almost anything.
        raise UserError(f"damaged initial states in {path} ({error}): {advice}") from error
    if not _is_table(states):
        raise UserError(f"{path} holds no float64 table: {advice}")
    return states


def _is_table(states: Any) -> bool:
    return isinstance(states, np.ndarray) and states.dtype == np.float64 and states.ndim == 2


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
