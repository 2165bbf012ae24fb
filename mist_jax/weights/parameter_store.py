"""An Orbax checkpoint of parameters that is filled piece by piece, in little memory.

Orbax writes arrays that are in memory whole. Here it writes the tree with empty leaves, each leaf
is then laid out at its full shape in the same TensorStore database, and filled in any order. What
results is an ordinary Orbax checkpoint.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from flax import traverse_util

from mist_jax.policy.openvla_oft.network.float8 import KEPT, beginning, quantised_kernel

CHUNK_BYTES = 8 << 20  # halves of the last two axes stay chunk-aligned, so shards read only theirs
BLOCK_BYTES = 256 << 20
IN_FLIGHT_BYTES = 512 << 20
ZARR_NAMES: Mapping[np.dtype, str] = {
    np.dtype(np.float32): "<f4",
    np.dtype(ml_dtypes.bfloat16): "bfloat16",
    np.dtype(ml_dtypes.float8_e4m3fn): "float8_e4m3fn",
}


@dataclass
class ParameterStore:
    """Parameters on disk by path (`a/b/c`), each of its own shape and dtype."""

    folder: Path
    arrays: Mapping[str, jax.ShapeDtypeStruct]
    _writing: list[tuple[int, tensorstore.WriteFutures]] = field(default_factory=list)

    def create(self) -> None:
        """Lay out every parameter, unwritten."""
        empty = {tuple(path.split("/")): np.zeros((), np.float32) for path in self.arrays}
        with ocp.PyTreeCheckpointer() as checkpointer:
            checkpointer.save(self.folder.absolute(), traverse_util.unflatten_dict(empty))
        for path, array in self.arrays.items():
            metadata = {
                "shape": array.shape,
                "chunks": _chunks(array.shape, array.dtype.itemsize),
                "dtype": ZARR_NAMES[array.dtype],
                "compressor": None,  # trained bfloat16 hardly shrinks, and would restore slower
            }
            spec = {**self._spec(path), "metadata": metadata}
            tensorstore.open(spec, create=True, delete_existing=True).result()

    def write(self, path: str, block: int | None, row: int, values: np.ndarray) -> None:
        """Put one tensor into a parameter: all of it, one block, or rows from `row` on.

        Of parameters in float8 the first blocks go where they are kept, and a kernel that is kept
        in float8 is quantised.
        """
        kept = beginning(path)
        if block is not None and kept is not None and kept in self.arrays:
            path, block = (kept, block) if block < KEPT else (path, block - KEPT)
        if path not in self.arrays:
            for each, part in quantised_kernel(path, values).items():
                self._write(each, block, row, np.asarray(part))
        else:
            self._write(path, block, row, values)

    def _write(self, path: str, block: int | None, row: int, values: np.ndarray) -> None:
        values = np.ascontiguousarray(values.astype(self.arrays[path].dtype, copy=False))
        target = tensorstore.open(self._spec(path), open=True).result()
        if block is not None:
            target = target[block]
        elif values.shape != target.shape:
            target = target[row : row + len(values)]
        self._writing.append((values.nbytes, target.write(values)))
        while sum(size for size, _ in self._writing) > IN_FLIGHT_BYTES:
            self._writing.pop(0)[1].result()

    def flush(self) -> None:
        """Wait until everything written is on disk."""
        while self._writing:
            self._writing.pop(0)[1].result()

    def blocks(self, path: str) -> Iterator[np.ndarray]:
        """One parameter in order, in pieces of its first axis."""
        stored = tensorstore.open(self._spec(path), open=True).result()
        size = stored.dtype.numpy_dtype.itemsize * int(np.prod(stored.shape))
        step = max(1, stored.shape[0] * BLOCK_BYTES // max(size, 1))
        for start in range(0, stored.shape[0], step):
            yield stored[start : min(start + step, stored.shape[0])].read().result()

    def digest(self, on_read: Callable[[int], None]) -> str:
        """SHA-256 as `mist_jax.checkpoint.digest_of` takes it; calls `on_read(bytes)`."""
        total = hashlib.sha256()
        for path in sorted(self.arrays, key=lambda path: path.split("/")):
            array = self.arrays[path]
            total.update(f"{path} {tuple(array.shape)} {array.dtype}".encode())
            for block in self.blocks(path):
                total.update(np.ascontiguousarray(block).view(np.uint8).data)
                on_read(block.nbytes)
        return total.hexdigest()

    def _spec(self, path: str) -> dict:
        database = {"driver": "ocdbt", "base": f"{self.folder.absolute().as_uri()}/"}
        return {"driver": "zarr", "kvstore": {**database, "path": path.replace("/", ".") + "/"}}


def _chunks(shape: tuple[int, ...], itemsize: int) -> list[int]:
    """Blocks of a stack apart, and matrices halved along their longer axis until small enough."""
    chunks = [1, *shape[1:]] if len(shape) > 2 else list(shape)
    while itemsize * int(np.prod(chunks)) > CHUNK_BYTES:
        axis = int(np.argmax(chunks))
        chunks[axis] = -(-chunks[axis] // 2)
    return chunks
