"""Reads the tensors of a PyTorch `.pt` file without executing what is pickled in it.

A `.pt` file is a zip archive whose members are stored as they are, not compressed: `data.pkl`
describes a dictionary of tensors, `data/N` holds bytes. Nothing that the file says of a size is
believed before it is compared with the file's own.
"""

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import as_strided

from mist_jax.errors import UserError
from mist_jax.weights.pickled_tensors import StoredTensor, read_pickled_tensors

_DDP_PREFIX = "module."  # saved from a model wrapped in DistributedDataParallel
_LARGEST_PICKLE = 64 << 20  # a description; thousands of tensors take less than one
_DAMAGE = (
    zipfile.BadZipFile,
    OSError,
    EOFError,
    KeyError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    struct.error,
)


@dataclass(frozen=True)
class TorchTensor:
    """One tensor of a `.pt` file, not yet read; `root` is the folder within the archive."""

    file: Path
    root: str
    placed: StoredTensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        return self.placed.shape

    def read(self) -> np.ndarray:
        """The tensor's values.

        Raises:
            UserError: the file is damaged.
        """
        placed, member = self.placed, f"{self.root}data/{self.placed.storage.member}"
        try:
            with zipfile.ZipFile(self.file) as archive:
                data = _read_member(archive, member, self.file.stat().st_size)
            values = np.frombuffer(data, placed.storage.dtype)
            placed.check(len(values))
        except _DAMAGE as error:
            raise UserError(f"{self.file} is damaged: {_line(error)}") from error
        strides = tuple(step * values.itemsize for step in placed.strides)
        return as_strided(values[placed.offset :], placed.shape, strides, writeable=False)


def read_torch_file(path: Path) -> dict[str, TorchTensor]:
    """The tensors of a state dictionary by name, without the prefix of distributed training.

    Raises:
        UserError: the file is damaged, is no dictionary of tensors, or holds a pickled object that
            is not a tensor (which is never executed).
    """
    if not path.is_file():  # opening a pipe or a device could wait for ever
        raise UserError(f"{path} is not a regular file")
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            described = [name for name in members if name.endswith("/data.pkl")]
            if len(described) != 1:
                raise UserError(f"{path} is not a PyTorch file of tensors: it has no data.pkl")
            root = described[0].removesuffix("data.pkl")
            order = f"{root}byteorder"
            if order in members and _read_member(archive, order, size) != b"little":
                raise UserError(f"{path} was written on a big-endian machine")
            if archive.getinfo(described[0]).file_size > _LARGEST_PICKLE:
                raise UserError(f"{path} holds something other than tensors: its data.pkl is huge")
            pickled = _read_member(archive, described[0], size)
    except _DAMAGE as error:
        raise UserError(f"{path} is not a readable PyTorch file: {_line(error)}") from error
    try:
        values = read_pickled_tensors(pickled)
    except ValueError as error:
        raise UserError(f"{path} holds something other than tensors: {_line(error)}") from error
    if not isinstance(values, dict) or not all(
        isinstance(v, StoredTensor) for v in values.values()
    ):
        raise UserError(f"{path} must hold a dictionary of tensors")
    stripped = {
        name.removeprefix(_DDP_PREFIX): TorchTensor(path, root, placed)
        for name, placed in values.items()
    }
    if len(stripped) != len(values):
        raise UserError(f"{path} holds tensors both with and without the prefix {_DDP_PREFIX!r}")
    return stripped


def _read_member(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    """A member's bytes; ValueError before memory is taken where the archive is too small for it."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ValueError(f"{name} is compressed, which PyTorch never does"[:200])
    if info.file_size > size:
        raise ValueError(f"{name} is larger than the file that holds it"[:200])
    return archive.read(info)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
