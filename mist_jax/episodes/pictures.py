"""The cameras' pictures in the stored form: which steps have one, and their columns."""

from collections.abc import Mapping

import numpy as np

from mist_jax.episodes.columns import ColumnReader, Values
from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.episodes.rlds import rlds_camera
from mist_jax.record.episode import Episode


def picture_columns(episode: Episode, info: DatasetInfo) -> dict[str, Values]:
    """The camera pictures that `info` asks for; raises ValueError where they are others."""
    steps = picture_steps(episode, info)
    if info.images == "none":
        return {}
    prefix = "steps/observation" if info.images == "step" else "frames"
    columns: dict[str, Values] = {} if info.images == "step" else {"frames/step": steps}
    for camera in info.cameras:
        jpegs = [episode.steps.images[camera][step] for step in steps]
        columns[f"{prefix}/{rlds_camera(camera)}"] = jpegs
    return columns


def read_pictures(
    columns: ColumnReader, info: DatasetInfo, length: int
) -> dict[str, tuple[bytes, ...]]:
    """camera -> N JPEGs, b"" where none was kept; empty where there is no picture at all."""
    if info.images == "none" or not length:
        return {}
    if info.images == "step":
        prefix, kept = "steps/observation", np.arange(length)
    else:
        prefix, kept = "frames", columns.array("frames/step", np.int32, -1)
    images = {}
    for camera in info.cameras if len(kept) else ():
        jpegs = [b""] * length
        stored = columns.bytes(f"{prefix}/{rlds_camera(camera)}")
        for step, jpeg in zip(kept, stored, strict=True):
            jpegs[step] = jpeg
        images[camera] = tuple(jpegs)
    return images


def query_pictures(
    images: Mapping[str, tuple[bytes, ...]], steps: np.ndarray
) -> dict[str, tuple[bytes, ...]]:
    """The queries' share of the steps' pictures; empty unless every query has one."""
    if any(step >= len(jpegs) or not jpegs[step] for jpegs in images.values() for step in steps):
        return {}
    return {camera: tuple(jpegs[step] for step in steps) for camera, jpegs in images.items()}


def picture_steps(episode: Episode, info: DatasetInfo) -> np.ndarray:
    """The steps, int32 [M], of which the dataset keeps every camera's picture.

    Raises:
        ValueError: the episode's pictures are not those that `info.images` asks for.
    """
    steps, queries = episode.steps, episode.queries
    kept = {name: np.array([bool(jpeg) for jpeg in jpegs]) for name, jpegs in steps.images.items()}
    if not kept and (info.images != "step" or not len(steps)):
        found = np.zeros(0, np.int32)
    elif info.images == "none" or set(kept) != set(info.cameras):
        raise ValueError(
            f"episode {episode.key}: pictures of {sorted(kept)}, but the dataset keeps images="
            f"{info.images} of {sorted(info.cameras)}"
        )
    else:
        first = kept[info.cameras[0]]
        if any(len(mask) != len(steps) or (mask != first).any() for mask in kept.values()):
            raise ValueError(f"episode {episode.key}: the cameras' pictures are of unequal steps")
        if info.images == "step" and not first.all():
            raise ValueError(f"episode {episode.key}: not every step has a picture")
        found = np.flatnonzero(first).astype(np.int32)
    for name, jpegs in queries.images.items():
        if name not in kept or jpegs != tuple(steps.images[name][step] for step in queries.step):
            raise ValueError(f"episode {episode.key}: the queries' pictures are not their steps'")
    return found
