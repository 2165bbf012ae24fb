"""Reads the tensors of a PyTorch `.pt` file without executing what is pickled in it.

A `.pt` file is a zip archive: `data.pkl` describes a dictionary of tensors, `data/N` holds bytes.
The pickle is read with an unpickler that knows tensors, storages and ordered dictionaries, and
refuses every other name.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.lib.stride_tricks import as_strided

from mist_jax.errors import UserError

_STORAGES: Mapping[str, np.dtype] = {
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "HalfStorage": np.dtype(np.float16),
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_DDP_PREFIX = "module."  # saved from a model wrapped in DistributedDataParallel


@dataclass(frozen=True)
class _StorageType:
    dtype: np.dtype


@dataclass(frozen=True)
class _Storage:
    member: str
    dtype: np.dtype
    length: int


@dataclass(frozen=True)
class TorchTensor:
    """One tensor of a `.pt` file, not yet read."""

    file: Path
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self) -> np.ndarray:
        """The tensor's values.

        Raises:
            UserError: the file is damaged.
        """
        try:
            with zipfile.ZipFile(self.file) as archive:
                data = archive.read(self.storage.member)
        except (zipfile.BadZipFile, KeyError, OSError, EOFError) as error:
            raise UserError(f"{self.file} is damaged: {error}") from error
        values = np.frombuffer(data, self.storage.dtype)
        if len(values) < self.storage.length:
            raise UserError(f"{self.file} is damaged: {self.storage.member} is cut short")
        strides = tuple(step * values.itemsize for step in self.strides)
        return as_strided(values[self.offset :], self.shape, strides, writeable=False)


def read_torch_file(path: Path) -> dict[str, TorchTensor]:
    """The tensors of a state dictionary by name, without the prefix of distributed training.

    Raises:
        UserError: the file is damaged, is no dictionary of tensors, or holds a pickled object that
            is not a tensor (which is never executed).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            described = [name for name in members if name.endswith("/data.pkl")]
            if len(described) != 1:
                raise UserError(f"{path} is not a PyTorch file of tensors: it has no data.pkl")
            root = described[0].removesuffix("data.pkl")
            order = f"{root}byteorder"
            if order in members and archive.read(order) != b"little":
                raise UserError(f"{path} was written on a big-endian machine")
            with archive.open(described[0]) as file:
                values = _Unpickler(file, path, root).load()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise UserError(f"{path} is not a readable PyTorch file: {error}") from error
    except (pickle.UnpicklingError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"{path} holds something other than tensors: {error}") from error
    if not isinstance(values, dict) or not all(
        isinstance(name, str) and isinstance(tensor, TorchTensor) for name, tensor in values.items()
    ):
        raise UserError(f"{path} must hold a dictionary of tensors")
    stripped = {name.removeprefix(_DDP_PREFIX): tensor for name, tensor in values.items()}
    if len(stripped) != len(values):
        raise UserError(f"{path} holds tensors both with and without the prefix {_DDP_PREFIX!r}")
    return stripped


class _Unpickler(pickle.Unpickler):
    """Builds tensors, storages and ordered dictionaries; every other name is refused."""

    def __init__(self, file: Any, path: Path, root: str):
        super().__init__(file)
        self.path, self.root = path, root

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        allowed: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
        }
        if (module_name, global_name) in allowed:
            return allowed[module_name, global_name]
        if module_name == "torch" and global_name in _STORAGES:
            return _StorageType(_STORAGES[global_name])
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is not a tensor")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, member, _, length = pid
        if kind != "storage" or not isinstance(storage, _StorageType):
            raise pickle.UnpicklingError(f"unknown reference {kind!r}")
        return _Storage(f"{self.root}data/{member}", storage.dtype, int(length))

    def _tensor(
        self,
        storage: _Storage,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        *_: Any,
    ) -> TorchTensor:
        shape, strides = tuple(map(int, shape)), tuple(map(int, strides))
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if min((offset, *shape, *strides), default=0) < 0 or (
            0 not in shape and last >= storage.length
        ):
            raise pickle.UnpicklingError(f"a tensor of shape {shape} reaches beyond its storage")
        return TorchTensor(self.path, storage, offset, shape, strides)


def _parameter(tensor: TorchTensor, *_: Any) -> TorchTensor:
    return tensor
