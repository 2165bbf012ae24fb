"""A published checkpoint becomes a policy: streamed, resumable, and whole or not there."""

import dataclasses
import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from mist_jax.disk import replace_file
from mist_jax.errors import UserError
from mist_jax.policy.checkpoint import (
    PARAMETERS,
    PolicyCard,
    is_policy,
    read_card,
    stored_arrays,
    write_description,
)
from mist_jax.policy.dtypes import RunDType
from mist_jax.policy.openvla_oft.model import parameter_shapes
from mist_jax.policy.openvla_oft.network.config import OpenVLAOFTConfig
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from mist_jax.policy.preprocessing.statistics import choose_key, read_statistics
from mist_jax.policy.preprocessing.tokenizer import PromptTokenizer
from mist_jax.weights.checkpoint_config import build_config
from mist_jax.weights.key_table import rules_for
from mist_jax.weights.parameter_store import ParameterStore
from mist_jax.weights.plan import ConversionPlan, make_plan
from mist_jax.weights.published_files import (
    STATISTICS,
    PublishedCheckpoint,
    TensorFile,
    open_checkpoint,
)

PROGRESS = "progress.json"
RECORD_BYTES = 1 << 30


def convert_checkpoint(
    source: Path,
    output: Path,
    dtype: RunDType = "bfloat16",
    *,
    images: int | None = None,
    chunk: int | None = None,
    unnorm_key: str | None = None,
    name: str | None = None,
) -> Path:
    """Convert a published checkpoint's folder; returns `output`, a policy's folder.

    An interrupted conversion goes on where it was, up to a gigabyte back. A conversion that is
    there already is left as it is.

    Args:
        source: folder in the published form.
        output: where the policy shall be; its hidden neighbour `.NAME.converting` holds the work.
        dtype: of the parameters.
        images: cameras the policy takes, where the checkpoint does not say so.
        chunk: actions per query, likewise.
        unnorm_key: the data set whose statistics alone the policy keeps; default all. Where there
            are others the policy's name says which, since its actions depend on it.
        name: what the policy calls itself; default the folder's name.

    Raises:
        UserError: the source is incomplete, damaged or of an unknown form, the disk too small, or
            `output` is taken.
    """
    work = output.absolute().with_name(f".{output.absolute().name}.converting")
    with _alone(work):
        return _convert(
            source,
            output,
            work,
            dtype,
            images=images,
            chunk=chunk,
            unnorm_key=unnorm_key,
            name=name or source.resolve().name,
        )


def _convert(
    source: Path,
    output: Path,
    work: Path,
    dtype: RunDType,
    *,
    images: int | None,
    chunk: int | None,
    unnorm_key: str | None,
    name: str,
) -> Path:
    checkpoint, called = open_checkpoint(source), name
    if unnorm_key is not None:
        key = choose_key(checkpoint.statistics, unnorm_key, str(source / STATISTICS))
        called = name if len(checkpoint.statistics) == 1 else f"{name}:{key}"
        checkpoint = dataclasses.replace(checkpoint, statistics={key: checkpoint.statistics[key]})
    plan = make_plan(checkpoint.described(), rules_for(checkpoint.contents))
    config = _config(checkpoint, plan, images, chunk)
    _check_sidecars(checkpoint, config)
    fingerprint = _fingerprint(checkpoint, config, dtype)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        if is_policy(output) and read_card(output).provenance.get("fingerprint") == fingerprint:
            return output
        raise UserError(f"{output} exists and is not this conversion; remove it or name another")
    _check_total(plan, parameter_shapes(config), checkpoint)
    arrays = stored_arrays(OpenVLAOFTModel(config), dtype)
    store = ParameterStore(work / PARAMETERS, arrays)
    done = _resume(work, fingerprint)
    if done is None:
        _check_disk(output, _size(arrays))
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        store.create()
        done = {}
        _record(work, fingerprint, done)
    with _progress() as progress:
        _fill(store, checkpoint.files, plan, work, fingerprint, done, progress)
        task = progress.add_task("checking", total=_size(arrays))
        digest = store.digest(lambda read: progress.advance(task, read))
    card = PolicyCard(
        name=called,
        model=OpenVLAOFTModel(config),
        dtype=dtype,
        digest=digest,
        provenance={
            "converted_from": name,
            "files": [file.path.name for file in checkpoint.files],
            "fingerprint": fingerprint,
            "unused_keys": len(plan.unused),
        },
    )
    write_description(work, card, checkpoint.statistics, checkpoint.tokenizer)
    (work / PROGRESS).unlink()
    if output.exists():
        output.rmdir()
    work.rename(output)
    return output


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Holds the lock of a conversion's work; the lock file goes when it is given back.

    Raises:
        UserError: another process holds it.
    """
    path = work.with_name(f"{work.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise BlockingIOError  # the holder gave it back, and took its file away, just now
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(
            f"another conversion into {work.name[1:].removesuffix('.converting')} is under way in "
            f"{work.parent}; wait for it, or name another folder"
        ) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _fill(
    store: ParameterStore,
    files: Iterable[TensorFile],
    plan: ConversionPlan,
    work: Path,
    fingerprint: str,
    done: dict[str, int],
    progress: Progress,
) -> None:
    """Stream every file into the store from its first tensor that is not done."""
    for file in files:
        placements = {p.key: p for p in plan.placements if p.source == file.source}
        wanted = [key for key in file.shapes if key in placements]
        sizes = [2 * math.prod(file.shapes[key]) for key in wanted]  # as published
        finished = done.get(file.path.name, 0)
        task = progress.add_task(file.path.name, total=sum(sizes), completed=sum(sizes[:finished]))
        unrecorded = 0
        for number, (key, tensor) in enumerate(file.read(wanted[finished:]), finished + 1):
            placement = placements[key]
            store.write(placement.path, placement.block, placement.row, placement.arrange(tensor))
            progress.advance(task, sizes[number - 1])
            unrecorded += sizes[number - 1]
            if unrecorded > RECORD_BYTES or number == len(wanted):
                store.flush()
                done[file.path.name] = number
                _record(work, fingerprint, done)
                unrecorded = 0


def _config(
    checkpoint: PublishedCheckpoint, plan: ConversionPlan, images: int | None, chunk: int | None
) -> OpenVLAOFTConfig:
    action_dim = plan.sizes.get("action_dim")
    if action_dim is None:  # discrete actions have no head to tell
        key = next(iter(checkpoint.statistics))
        action_dim = len(read_statistics(checkpoint.statistics, key).action)
    return build_config(
        checkpoint.config,
        plan.sizes,
        checkpoint.contents,
        action_dim=action_dim,
        processor=checkpoint.processor,
        images=images,
        chunk=chunk,
    )


def _check_sidecars(checkpoint: PublishedCheckpoint, config: OpenVLAOFTConfig) -> None:
    PromptTokenizer.load(checkpoint.tokenizer, terminator_id=config.empty_token_id)
    for key in checkpoint.statistics:
        statistics = read_statistics(checkpoint.statistics, key, config.action_bounds)
        proprio = 0 if statistics.proprio is None else len(statistics.proprio)
        if len(statistics.action) != config.action_dim or (
            config.proprio_dim and proprio != config.proprio_dim
        ):
            raise UserError(
                f"statistics {key!r} describe {len(statistics.action)} action and {proprio} "
                f"proprio dimensions; the weights have {config.action_dim} and {config.proprio_dim}"
            )


def _check_total(
    plan: ConversionPlan, shapes: Mapping[str, tuple[int, ...]], checkpoint: PublishedCheckpoint
) -> None:
    """Every parameter is filled exactly once: by count of values, per parameter."""
    published = {(t.source, t.key): t.shape for t in checkpoint.described()}
    filled = dict.fromkeys(shapes, 0)
    unknown = sorted({p.path for p in plan.placements} - set(shapes))
    for placement in plan.placements:
        if placement.path in filled:
            filled[placement.path] += math.prod(published[placement.source, placement.key])
    wrong = [path for path, count in filled.items() if count != math.prod(shapes[path])]
    if unknown or wrong:
        raise UserError(
            "the key table does not fit the model: "
            f"no such parameters {unknown}; not filled exactly once {sorted(wrong)}"
        )


def _fingerprint(checkpoint: PublishedCheckpoint, config: OpenVLAOFTConfig, dtype: str) -> str:
    """Of everything that decides the result, short of reading the weights."""
    described = {
        "files": [
            [file.path.name, (stat := file.path.stat()).st_size, stat.st_mtime_ns]
            for file in checkpoint.files
        ],
        "config": config.to_dict(),
        "statistics": checkpoint.statistics,
        "tokenizer": hashlib.sha256(checkpoint.tokenizer.read_bytes()).hexdigest(),
        "dtype": dtype,
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _resume(work: Path, fingerprint: str) -> dict[str, int] | None:
    """Tensors done per file by an interrupted conversion of the same source; None to start anew."""
    try:
        recorded = json.loads((work / PROGRESS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return recorded["done"] if recorded.get("fingerprint") == fingerprint else None


def _record(work: Path, fingerprint: str, done: Mapping[str, int]) -> None:
    content = json.dumps({"fingerprint": fingerprint, "done": done})
    replace_file(work / PROGRESS, content.encode())


def _size(arrays: Mapping[str, Any]) -> int:
    return sum(array.dtype.itemsize * math.prod(array.shape) for array in arrays.values())


def _check_disk(output: Path, needed: int) -> None:
    parent = output.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(parent).free
    if free < 1.05 * needed:
        raise UserError(
            f"{parent} has {free / 1e9:.1f} GB free; the converted policy needs {needed / 1e9:.1f}"
        )


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
