"""The dataset as TFRecord, in the plain RLDS form that training tools read through `as_dataset`.

They stack whole episodes and repeat the metadata per step, so this form has what is rectangular:
the steps with their pictures (turned by 180 degrees, as public LIBERO datasets have them), the
harmful contacts as two numbers per step, and scalar metadata.
"""

import importlib.util
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mist_jax.episodes.codec import metadata_columns, step_columns
from mist_jax.episodes.columns import Values, rows, write_columns
from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.episodes.export.choice import check_exportable, count_of, episodes_of, whole_export
from mist_jax.episodes.export.harmful_steps import HarmfulSteps
from mist_jax.episodes.pictures import picture_columns
from mist_jax.episodes.schema import features_of, metadata_features, step_features
from mist_jax.episodes.shards import VERSION
from mist_jax.errors import UserError
from mist_jax.record.column import columns_of
from mist_jax.record.episode import Episode

_EPISODES_PER_SHARD = 64


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
    info = check_exportable(directory, outcomes, "the tools that train on RLDS")
    final = output_dir / name / VERSION
    with whole_export(final) as folder:
        folder.mkdir()
        total = count_of(directory, outcomes)
        _write(folder, name, info, episodes_of(directory, outcomes), total, progress)
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
