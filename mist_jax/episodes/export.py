"""The dataset as TFRecord, in the plain RLDS form that training tools read through `as_dataset`.

They stack whole episodes and repeat the metadata per step, so this form has what is rectangular:
the steps with their pictures (turned by 180 degrees, as public LIBERO datasets have them), the
harmful contacts as two numbers per step, and scalar metadata.
"""

import importlib.util
import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mist_jax.disk import PARTIAL, full_disk_is_clear
from mist_jax.episodes.codec import metadata_columns, step_columns
from mist_jax.episodes.columns import Values, rows, write_columns
from mist_jax.episodes.dataset_info import DatasetInfo, load_info
from mist_jax.episodes.index import read_index
from mist_jax.episodes.pictures import picture_columns
from mist_jax.episodes.reader import read_episodes
from mist_jax.episodes.schema import features_of, metadata_features, step_features
from mist_jax.episodes.shards import VERSION
from mist_jax.errors import UserError
from mist_jax.record.column import column, columns_of
from mist_jax.record.episode import Episode

_EPISODES_PER_SHARD = 64


@dataclass(frozen=True)
class HarmfulSteps:
    """Per control step [N]: the harmful contacts, as what is rectangular."""

    harmful_contact: np.ndarray = field(metadata=column(np.bool_))
    peak_force: np.ndarray = field(metadata=column(np.float32, doc="N, 0 without such a contact"))

    @classmethod
    def of(cls, episode: Episode) -> "HarmfulSteps":
        """Those of an episode."""
        peak = np.zeros(len(episode.steps), np.float32)
        for contact in episode.contacts:
            if contact.harmful:
                peak[contact.step] = max(peak[contact.step], contact.peak_force)
        return cls(harmful_contact=peak > 0, peak_force=peak)


def check_tensorflow() -> None:
    """Makes sure that TensorFlow is installed, without importing it.

    Raises:
        UserError: it is not.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            "writing TFRecord needs TensorFlow, which is not installed; in an environment of its "
            "own: pip install 'mist_jax[rlds]'"
        )


def export_rlds(
    directory: Path,
    output_dir: Path,
    name: str,
    outcomes: Sequence[str],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Writes the episodes with one of `outcomes` to `output_dir/name/VERSION`.

    Imports TensorFlow: never call it in a process that renders. `progress` is told the number of
    episodes written and their total.

    Returns:
        The folder, which `tfds.load(name, data_dir=output_dir)` or `builder_from_directory` opens.

    Raises:
        UserError: TensorFlow is not installed, there is no dataset, it keeps no picture per step,
            none of its episodes qualifies, the result exists already, or the disk is full.
    """
    check_tensorflow()
    info = load_info(directory)
    if info.images != "step":
        raise UserError(
            f"{directory} keeps images={info.images}; the tools that train on RLDS need a picture "
            "per step: collect with --images=step"
        )
    wanted = [entry for entry in read_index(directory) if entry.outcome in outcomes]
    if not wanted:
        raise UserError(f"{directory} has no episode with outcome {' or '.join(outcomes)}")
    final = output_dir / name / VERSION
    if final.exists():
        raise UserError(f"{final} exists already; remove it or name another folder")
    scratch = final.with_name(VERSION + PARTIAL)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        with full_disk_is_clear(output_dir):
            episodes = (e for e in read_episodes(directory, images=True) if e.outcome in outcomes)
            _write(scratch, name, info, episodes, len(wanted), progress)
            scratch.replace(final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return final


def _write(
    folder: Path,
    name: str,
    info: DatasetInfo,
    episodes: Iterator[Episode],
    total: int,
    progress: Callable[[int, int], None],
) -> None:
    import tensorflow as tf  # pyright: ignore[reportMissingImports]
    import tensorflow_datasets as tfds

    shards = -(-total // _EPISODES_PER_SHARD)
    lengths = []
    for shard in range(shards):
        path = folder / f"{name}-train.tfrecord-{shard:05d}-of-{shards:05d}"
        lengths.append(0)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for episode in itertools.islice(episodes, _EPISODES_PER_SHARD):
                writer.write(write_columns(_columns(episode, info)))
                lengths[-1] += 1
                progress(sum(lengths), total)
    size = sum(path.stat().st_size for path in folder.iterdir())
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=_features(info),
        split_infos=[tfds.core.SplitInfo(name="train", shard_lengths=lengths, num_bytes=size)],
        version=VERSION,
        check_data=False,
        description="Robot episodes with harmful contacts, by mist_jax.",
    )


def _features(info: DatasetInfo) -> Any:
    from tensorflow_datasets.core import features as tfds

    steps = {**step_features(info), **features_of(columns_of(HarmfulSteps), {})}
    return tfds.FeaturesDict(
        {"steps": tfds.Dataset(steps), "episode_metadata": metadata_features()}
    )


def _columns(episode: Episode, info: DatasetInfo) -> dict[str, Values]:
    harm = vars(HarmfulSteps.of(episode))
    return {
        **step_columns(episode),
        **picture_columns(episode, info),
        **rows(columns_of(HarmfulSteps), harm, "steps", len(episode.steps), {}),
        **metadata_columns(episode),
    }
