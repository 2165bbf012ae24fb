"""The files of a published checkpoint, and its tensors one at a time."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from mist_jax.errors import UserError
from mist_jax.weights.film_backbone import MergedTensor, read_film_backbone
from mist_jax.weights.key_table import HEAD_SOURCES, Contents, Source
from mist_jax.weights.plan import PublishedTensor
from mist_jax.weights.torch_pickle import TorchTensor, read_torch_file

INDEX, SINGLE_SHARD = "model.safetensors.index.json", "model.safetensors"
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
STATISTICS, PROCESSOR = "dataset_statistics.json", "preprocessor_config.json"
LARGEST_JSON = 64 << 20
REOPEN_BYTES = 256 << 20  # a shard is mapped; reopening it gives the pages back


@dataclass(frozen=True)
class TensorFile:
    """One file of tensors: a shard of the model, or one head."""

    source: Source
    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    tensors: Mapping[str, TorchTensor | MergedTensor] | None = None  # None: a safetensors shard

    def described(self) -> list[PublishedTensor]:
        """Its tensors, by their headers."""
        return [PublishedTensor(self.source, key, shape) for key, shape in self.shapes.items()]

    def read(self, keys: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """The named tensors, one in memory at a time.

        Raises:
            UserError: the file is damaged, or a tensor holds NaN or infinity.
        """
        for key, tensor in self._read(keys):
            if not _all_finite(tensor):
                raise UserError(f"{self.path} is damaged: {key} is not finite; download it again")
            yield key, tensor

    def _read(self, keys: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        if self.tensors is not None:
            for key in keys:
                yield key, self.tensors[key].read()
            return
        pending = list(keys)
        while pending:
            with _open_shard(self.path) as shard:
                read = 0
                while pending and read < REOPEN_BYTES:
                    key = pending.pop(0)
                    tensor = shard.get_tensor(key)
                    read += tensor.nbytes
                    yield key, tensor


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A checkpoint's folder, with every header read."""

    folder: Path
    files: tuple[TensorFile, ...]
    contents: Contents
    config: Mapping[str, Any]
    processor: Mapping[str, Any] | None
    statistics: Mapping[str, Any]
    tokenizer: Path

    def described(self) -> list[PublishedTensor]:
        """Every tensor of every file."""
        return [tensor for file in self.files for tensor in file.described()]


def open_checkpoint(folder: Path) -> PublishedCheckpoint:
    """Find and check the files of a published checkpoint; no weights are read.

    Raises:
        UserError: a file is missing, damaged, or there are two of a kind that there must be one of.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    config = read_json(folder / CONFIG)
    tokenizer = folder / TOKENIZER
    if not tokenizer.is_file():
        raise UserError(f"{tokenizer} does not exist; a published checkpoint has it")
    statistics = _statistics(folder, config)
    files = [_shard(path) for path in _shards(folder)]
    for source in HEAD_SOURCES:
        if (path := _head_file(folder, source)) is not None:
            files.append(_head(source, path))
    processor = folder / PROCESSOR
    return PublishedCheckpoint(
        folder=folder,
        files=tuple(files),
        contents=_contents(files),
        config=config,
        processor=read_json(processor) if processor.is_file() else None,
        statistics=statistics,
        tokenizer=tokenizer,
    )


def statistics_of(folder: Path) -> Mapping[str, Any]:
    """The statistics of a published checkpoint, by data set.

    Raises:
        UserError: it has none, or they cannot be read.
    """
    return _statistics(folder, read_json(folder / CONFIG))


def _statistics(folder: Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    if (folder / STATISTICS).is_file():
        return read_json(folder / STATISTICS)  # replaces norm_stats, as in the reference
    if config.get("norm_stats"):
        return config["norm_stats"]
    raise UserError(f"{folder / STATISTICS} does not exist; a published checkpoint has it")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UserError: no such file, or not an object.
    """
    if path.exists() and not path.is_file():  # opening a pipe or a device could wait for ever
        raise UserError(f"{path} is not a regular file")
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise UserError(f"{path} has {path.stat().st_size} bytes: it is none of a checkpoint's")
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; a published checkpoint has it") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold a JSON object")
    return values


def _contents(files: Iterable[TensorFile]) -> Contents:
    sources = {file.source: file for file in files}
    head = sources.get("action_head")
    predicts_noise = head is not None and any(
        key.startswith("noise_predictor.") for key in head.shapes
    )
    if "noisy_action_projector" in sources or predicts_noise:
        kind = "diffusion"
    else:
        kind = "tokens" if head is None else "l1"
    return Contents(kind, "proprio_projector" in sources, "vision_backbone" in sources)


def _shards(folder: Path) -> list[Path]:
    if (folder / INDEX).is_file():
        index = read_json(folder / INDEX)
        names = index.get("weight_map")
        if not isinstance(names, dict) or not names:
            raise UserError(f"{folder / INDEX} has no weight_map")
        shards = [folder / name for name in sorted(set(names.values()))]
    else:
        shards = [folder / SINGLE_SHARD]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise UserError(f"{folder} lacks {', '.join(missing)}; download the checkpoint again")
    return shards


def _head_file(folder: Path, source: Source) -> Path | None:
    found = sorted(folder.glob(f"{source}--*checkpoint.pt"))
    if len(found) > 1:
        raise UserError(
            f"{folder} has {len(found)} files of its {source} "
            f"({', '.join(path.name for path in found)}); keep the one of the step you want"
        )
    return found[0] if found else None


def _open_shard(path: Path):
    try:
        return safe_open(path, framework="np")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}); download it again") from error


def _shard(path: Path) -> TensorFile:
    with _open_shard(path) as shard:
        # offset_keys, where they exist, read the file from its beginning to its end
        keys = shard.offset_keys() if hasattr(shard, "offset_keys") else shard.keys()
        return TensorFile("model", path, {k: tuple(shard.get_slice(k).get_shape()) for k in keys})


def _head(source: Source, path: Path) -> TensorFile:
    read = read_film_backbone if source == "vision_backbone" else read_torch_file
    tensors = read(path)
    return TensorFile(source, path, {k: t.shape for k, t in tensors.items()}, tensors)


def _all_finite(tensor: np.ndarray) -> bool:
    if tensor.dtype.name == "bfloat16":  # its exponent bits, much faster than through float32
        return not (tensor.view(np.uint16) & 0x7F80 == 0x7F80).any()
    return bool(np.isfinite(tensor).all())
